"""Profiles and overrides: values only, validated, and errors that name field, value and rule."""

import pytest

from flows.config import PipelineConfig, load_config, parse_config
from flows.profile_files import ConfigError, profile_names


def test_there_is_a_profile_for_tests_and_one_for_a_laptop() -> None:
    assert {"demo", "tiny"} <= set(profile_names())


@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_loads_and_survives_json(profile: str) -> None:
    config = load_config(profile)
    assert config.profile == profile
    again = PipelineConfig.model_validate(config.model_dump(mode="json"))
    assert again == config


def test_an_override_changes_its_field_and_nothing_else() -> None:
    plain = load_config("tiny")
    assert plain.pretrain
    changed = load_config("tiny", ["pretrain.optimizer.steps=30", "resources.num_workers=1"])
    assert changed.pretrain
    assert changed.pretrain.optimizer.steps == 30
    assert changed.resources.num_workers == 1
    steps = plain.pretrain.optimizer.steps
    optimizer = changed.pretrain.optimizer.model_copy(update={"steps": steps})
    workers = plain.resources.num_workers
    restored = changed.model_copy(
        update={
            "pretrain": changed.pretrain.model_copy(update={"optimizer": optimizer}),
            "resources": changed.resources.model_copy(update={"num_workers": workers}),
        }
    )
    assert restored == plain


def test_values_of_overrides_are_yaml_or_else_text() -> None:
    config = load_config(
        "tiny",
        [
            "sft.mixture={voice_chat: 2, digits: 0.5}",
            "pretrain.optimizer.learning_rate=1e-4",
            "data={folder: /recordings}",
            "schedule.cron=*/5 * * * *",
        ],
    )
    assert config.sft
    assert config.pretrain
    assert config.sft.mixture.tasks == {"voice_chat": 2, "digits": 0.5}
    assert config.pretrain.optimizer.learning_rate == 1e-4
    assert config.data.folder == "/recordings"
    assert config.data.manifest is None
    assert config.schedule.cron == "*/5 * * * *"


def test_an_override_that_begins_a_group_and_is_no_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"override 'dpo.beta=\[1, 2' is no YAML.*quote texts"):
        load_config("tiny", ["dpo.beta=[1, 2"])


def test_the_last_override_wins() -> None:
    dpo = load_config("tiny", ["dpo.beta=0.2", "dpo.beta=0.3"]).dpo
    assert dpo
    assert dpo.beta == 0.3


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("pretrain.optimizer.steps=0", ["pretrain.optimizer.steps", "greater than", "got 0"]),
        ("pretrain.optimizer.steps=many", ["pretrain.optimizer.steps", "integer", "'many'"]),
        ("dpo.beta=much", ["dpo.beta", "valid number", "'much'"]),
        ("dpo.betta=0.1", ["dpo.betta", "Extra inputs", "0.1"]),
        ("resources.backend=slurm", ["resources.backend", "'ray' or 'process'", "'slurm'"]),
        ("collect_preferences.top_p=1.5", ["collect_preferences.top_p", "equal to 1", "1.5"]),
        ("data.folder=/x", ["data", "exactly one", "/x"]),
    ],
)
def test_a_broken_rule_names_field_value_and_rule(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("tiny", [override])
    for part in ["profile tiny", *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dpo.beta", "has no '='; write a.b.c=value"),
        ("dpo.beta.more=1", "'beta' is a value, not a group"),
    ],
)
def test_an_override_that_is_none_is_refused_and_quoted(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("tiny", ["dpo.beta=0.1", override])
    assert message in str(caught.value)
    assert repr(override) in str(caught.value)


def test_an_unknown_profile_is_named_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"no profile 'tinny'.*'demo'.*'tiny'"):
        load_config("tinny")


def test_a_stored_configuration_that_no_longer_fits_names_its_run() -> None:
    with pytest.raises(ConfigError, match=r"pipeline run abc: .*Field required"):
        parse_config({"profile": "tiny"}, "pipeline run abc")


def test_resources_and_schedule_change_no_fingerprint() -> None:
    from flows.pipeline import PRETRAIN
    from flows.stage import Artifact, StageCall

    def fingerprint(config: PipelineConfig) -> str:
        corpus = Artifact(PRETRAIN, "corpus")
        return StageCall(
            PRETRAIN, config.recipe("pretrain"), {"corpus": corpus, "checkpoint": corpus}
        ).artifact.fingerprint

    plain = fingerprint(load_config("tiny"))
    assert plain == fingerprint(
        load_config("tiny", ["resources.backend=ray", "resources.checkpoint_every_steps=7"])
    )
    assert plain != fingerprint(load_config("tiny", ["pretrain.optimizer.seed=1"]))


def test_no_recipe_holds_a_set_whose_order_each_process_draws_anew() -> None:
    def sets_in(value: object, name: str) -> list[str]:
        if isinstance(value, dict):
            return [
                found for key, part in value.items() for found in sets_in(part, f"{name}.{key}")
            ]
        if isinstance(value, list | tuple):
            return [found for part in value for found in sets_in(part, name)]
        return [name] if isinstance(value, set | frozenset) else []

    for profile in profile_names():
        assert sets_in(load_config(profile).model_dump(), profile) == []
