"""A run has the stages that its profile chooses, and each starts from what it is told to."""

import pytest

from flows.config import PipelineConfig, load_config
from flows.pipeline import pipeline
from flows.profile_files import ConfigError
from flows.stage import Artifact, StageCall


def calls(config: PipelineConfig) -> list[StageCall]:
    """The calls of a run, on paper."""
    made: list[StageCall] = []

    def note(call: StageCall) -> Artifact:
        made.append(call)
        return call.artifact

    pipeline(config, note)
    return made


def inputs_of(config: PipelineConfig) -> dict[str, dict[str, str]]:
    """Stage -> input -> stage that made it."""
    return {
        call.stage.name: {name: artifact.stage.name for name, artifact in call.inputs.items()}
        for call in calls(config)
    }


@pytest.fixture
def tiny(tiny_overrides: tuple[str, ...]) -> tuple[str, ...]:
    return tiny_overrides


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the name and bytes of a checkpoint's files: on paper, nothing opens them."""
    folder = tmp_path_factory.mktemp("released")
    (folder / "config.json").write_text("{}")
    return str(folder)


def test_without_a_choice_every_stage_runs_and_starts_from_the_one_before(
    tiny: tuple[str, ...],
) -> None:
    assert inputs_of(load_config("tiny", tiny)) == {
        "ingest": {},
        "start": {"corpus": "ingest"},
        "pretrain": {"corpus": "ingest", "checkpoint": "start"},
        "sft": {"corpus": "ingest", "checkpoint": "pretrain"},
        "collect_preferences": {"corpus": "ingest", "checkpoint": "sft"},
        "dpo": {"corpus": "ingest", "pairs": "collect_preferences", "checkpoint": "sft"},
        "evaluate": {
            "corpus": "ingest",
            "pairs": "collect_preferences",
            "pretrain": "pretrain",
            "sft": "sft",
            "dpo": "dpo",
        },
    }


def test_a_released_model_is_fine_tuned_and_compared_with_its_start(
    tiny: tuple[str, ...], released: str
) -> None:
    config = load_config(
        "tiny",
        [
            *tiny,
            "stages=[evaluate, sft, start, ingest]",
            "start.model={kind: released}",
            f"weights={{released: {released}}}",
        ],
    )
    assert inputs_of(config) == {
        "ingest": {},
        "start": {},
        "sft": {"corpus": "ingest", "checkpoint": "start"},
        "evaluate": {"corpus": "ingest", "pairs": "ingest", "start": "start", "sft": "sft"},
    }


def test_a_released_model_is_the_same_artifact_whatever_the_corpus(
    tiny: tuple[str, ...], released: str
) -> None:
    start = ("start.model={kind: released}", f"weights={{released: {released}}}")
    other = "ingest.clips_per_shard=7"
    one, two = (
        {call.stage.name: call.artifact.fingerprint for call in calls(load_config("tiny", some))}
        for some in ([*tiny, *start], [*tiny, *start, other])
    )
    assert one["start"] == two["start"]
    assert one["ingest"] != two["ingest"]


def test_own_pairs_of_the_corpus_align_a_model_without_sampling(
    tiny: tuple[str, ...], released: str
) -> None:
    config = load_config("tiny", [*tiny, "stages=[ingest, dpo]", f"origins={{dpo: {released}}}"])
    assert inputs_of(config) == {
        "ingest": {},
        "start": {},
        "dpo": {"corpus": "ingest", "pairs": "ingest", "checkpoint": "start"},
    }


def test_any_checkpoints_are_compared_under_names_of_ones_own(
    tiny: tuple[str, ...], released: str
) -> None:
    compare = f"compare={{before: start, rival: {released}}}"
    config = load_config("tiny", [*tiny, "stages=[ingest, start, evaluate]", compare])
    (evaluate,) = [call for call in calls(config) if call.stage.name == "evaluate"]
    assert list(evaluate.inputs) == ["corpus", "pairs", "before", "rival"]
    assert len({artifact.fingerprint for artifact in evaluate.inputs.values()}) == 3


def test_origins_name_another_start_than_the_stage_before(tiny: tuple[str, ...]) -> None:
    config = load_config("tiny", [*tiny, "origins={dpo: pretrain}"])
    assert inputs_of(config)["dpo"]["checkpoint"] == "pretrain"


@pytest.mark.parametrize(
    ("override", "messages"),
    [
        ("stages=[ingest, sfft]", [r"stages names \['sfft'\]; there are \['ingest', 'start'"]),
        (
            "stages=[sft, dpo]",
            [
                "sft reads corpus, which ingest makes, and no such stage comes before it",
                "sft reads a checkpoint, and no stage before it makes one: add `start`",
                "dpo reads pairs, which ingest or collect_preferences makes",
            ],
        ),
        (
            "stages=[ingest, start, evaluate]",
            ["evaluate has no checkpoint to compare but random weights: add a stage that trains"],
        ),
        ("origins={sfft: start}", ["origins names 'sfft', which is no stage of this run"]),
        ("pretrain=null", ["pretrain has no recipe: give it one under the key 'pretrain'"]),
    ],
)
def test_stages_that_do_not_fit_together_are_refused_with_all_problems_at_once(
    override: str, messages: list[str], tiny: tuple[str, ...]
) -> None:
    config = load_config("tiny", [*tiny, override])
    with pytest.raises(ConfigError) as refusal:
        calls(config)
    for message in messages:
        assert refusal.match(message)


def test_a_checkpoint_can_not_have_the_name_of_another_input(tiny: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="can't be named 'corpus'"):
        load_config("tiny", [*tiny, "compare={corpus: start}"])


def test_checkpoints_to_compare_are_no_start_of_a_training(tiny: tuple[str, ...]) -> None:
    config = load_config("tiny", [*tiny, "stages=[ingest, dpo, evaluate]", "compare={a: /b}"])
    with pytest.raises(ConfigError, match="dpo reads a checkpoint, and no stage before it makes"):
        calls(config)
