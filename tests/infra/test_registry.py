"""Checkpoints in a real MLflow registry: versions, aliases, what they say, and where they lie."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.registry import Checkpoint, RegisteredModelError, Registry
from infra.tracking import Tracking


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    home = tmp_path_factory.mktemp("registry")
    return Tracking(f"sqlite:///{home}/mlflow.db", home / "artifacts")


@pytest.fixture(scope="module")
def registry(tracking: Tracking) -> Registry:
    return Registry(tracking.uri)


@pytest.fixture(scope="module")
def client(tracking: Tracking) -> MlflowClient:
    return MlflowClient(tracking.uri)


@pytest.fixture(scope="module")
def run_id(tracking: Tracking) -> str:
    return tracking.start_pipeline("tiny", {}).run_id


def checkpoint(name: str, run_id: str, store: str = "/store") -> Checkpoint:
    return Checkpoint(
        f"{store}/sft/{name}/checkpoint", "sft", name, run_id, {"loss": 0.25, "held_out_loss": 1.5}
    )


def test_registering_twice_keeps_one_version_and_moves_the_alias(
    registry: Registry, client: MlflowClient, run_id: str
) -> None:
    first, second = (checkpoint(name, run_id) for name in ("f1", "f2"))
    assert registry.register("model", "sft", first) == 1
    assert registry.register("model", "sft", second) == 2
    assert client.get_model_version_by_alias("model", "sft").version == 2
    assert registry.register("model", "sft", first) == 1
    assert len(client.search_model_versions("name = 'model'")) == 2
    assert int(client.get_model_version_by_alias("model", "sft").version) == 1


def test_a_version_says_where_it_lies_what_made_it_and_how_good_it_is(
    registry: Registry, client: MlflowClient, run_id: str
) -> None:
    registry.register("described", "sft", checkpoint("f1", run_id))
    version = client.get_model_version_by_alias("described", "sft")
    assert version.source == "/store/sft/f1/checkpoint"
    assert version.run_id == run_id
    assert version.tags == {
        "q2a.stage": "sft",
        "q2a.fingerprint": "f1",
        "q2a.folder": "/store/sft/f1/checkpoint",
        "q2a.metric.loss": "0.25",
        "q2a.metric.held_out_loss": "1.5",
    }
    assert "after the stage sft: loss 0.25, held_out_loss 1.5" in version.description
    assert client.get_registered_model("described").description


def test_a_checkpoint_that_lies_elsewhere_now_is_a_new_version_there(
    registry: Registry, client: MlflowClient, run_id: str
) -> None:
    registry.register("moved", "sft", checkpoint("f1", run_id))
    assert registry.register("moved", "sft", checkpoint("f1", run_id, "/elsewhere")) == 2
    assert client.get_model_version_by_alias("moved", "sft").source.startswith("/elsewhere/")


def test_names_of_versions_lead_to_their_folders(registry: Registry, run_id: str) -> None:
    registry.register("named", "sft", checkpoint("f1", run_id))
    registry.register("named", "dpo", checkpoint("f2", run_id))
    assert registry.location("models:/named@dpo") == "/store/sft/f2/checkpoint"
    assert registry.location("models:/named/1") == "/store/sft/f1/checkpoint"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models:/named", r"'models:/named' names no registered version; write models:/NAME@ALIAS"),
        ("models:/named/latest", "names no registered version"),
        ("models:/nobody@sft", r"has no 'models:/nobody@sft'. Its registered models: .*named"),
        ("models:/named@dpp", r"has no .*@dpp'. Aliases of named: dpo, sft; versions are numbered"),
        ("models:/named/7", r"has no 'models:/named/7'. Aliases of named: dpo, sft"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_with_what_there_is(
    registry: Registry, run_id: str, name: str, message: str
) -> None:
    for alias in ("sft", "dpo"):
        registry.register("named", alias, checkpoint("f1", run_id))
    with pytest.raises(RegisteredModelError, match=message):
        registry.location(name)


def test_an_empty_registry_says_so(tmp_path: Path) -> None:
    empty = Tracking(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    with pytest.raises(RegisteredModelError, match="none: a training registers the first"):
        Registry(empty.uri).location("models:/x@sft")
