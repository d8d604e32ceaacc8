"""Tracking on a real MLflow database: parents and children, metrics, lineage, versions."""

import json
import math
import pickle
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.registry import Checkpoint, Registry
from infra.tracking import RunLogger, Tracking, UnknownRunError


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    home = tmp_path_factory.mktemp("tracking")
    return Tracking(f"sqlite:///{home}/mlflow.db", home / "artifacts")


@pytest.fixture(scope="module")
def client(tracking: Tracking) -> MlflowClient:
    return MlflowClient(tracking.uri)


@pytest.fixture
def parent(tracking: Tracking) -> RunLogger:
    return tracking.start_pipeline("tiny", {})


def test_the_experiment_is_of_the_kind_that_trains_models_and_says_what_is_in_it(
    tracking: Tracking, client: MlflowClient, tmp_path: Path
) -> None:
    tags = client.get_experiment(tracking.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "q2a.hit.STAGE" in tags["mlflow.note.content"]
    before = MlflowClient(f"sqlite:///{tmp_path}/before.db")
    before.create_experiment("q2a")
    reopened = Tracking(f"sqlite:///{tmp_path}/before.db", tmp_path)
    assert before.get_experiment(reopened.experiment_id).tags == tags


def test_a_stage_is_a_child_of_its_pipeline(
    tracking: Tracking, client: MlflowClient, parent: RunLogger
) -> None:
    first = tracking.start_stage(parent, "ingest", "fp-child-1", {})
    second = tracking.start_stage(parent, "sft", "fp-child-2", {"corpus": "fp-child-1"})
    children = tracking.children_of(parent.run_id)
    assert [run.info.run_id for run in children] == [first.run_id, second.run_id]
    run = client.get_run(second.run_id)
    assert run.info.run_name == "sft"
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.data.tags["q2a.stage"] == "sft"
    assert run.data.tags["q2a.fingerprint"] == "fp-child-2"
    assert run.data.tags["q2a.input.corpus"] == "fp-child-1"


def test_nested_recipes_become_flat_params(client: MlflowClient, parent: RunLogger) -> None:
    parent.params({"optimizer": {"steps": 3, "rate": {"top": 0.5}}, "tasks": ["a", "b"], "x": None})
    assert client.get_run(parent.run_id).data.params == {
        "optimizer.steps": "3",
        "optimizer.rate.top": "0.5",
        "tasks": "['a', 'b']",
        "x": "None",
    }


def test_a_long_param_is_cut_instead_of_refused(client: MlflowClient, parent: RunLogger) -> None:
    parent.params({"text": "x" * 10_000})
    assert client.get_run(parent.run_id).data.params["text"] == "x" * 6000


def test_metrics_keep_every_step(client: MlflowClient, parent: RunLogger) -> None:
    for step in range(1, 4):
        parent.metrics({"loss": 1 / step, "rate": float(step)}, step)
    history = client.get_metric_history(parent.run_id, "loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert client.get_run(parent.run_id).data.metrics["rate"] == 3


@pytest.mark.parametrize("name", ["asterisk (2026)", "", "..", "a//b", "o'neill `x`", "x" * 300])
def test_any_text_is_a_name_of_metrics_tags_params_inputs_and_models(
    tracking: Tracking, client: MlflowClient, parent: RunLogger, name: str
) -> None:
    parent.metrics({f"mixture/corpus/{name}/share": 0.5, name: 0.25}, 1)
    parent.tags({name: "tag"})
    parent.params({"mixture": {name: 1.0}, name: "param"})
    data = client.get_run(parent.run_id).data
    assert sorted(data.metrics.values()) == [0.25, 0.5]
    assert "tag" in data.tags.values()
    assert sorted(data.params.values()) == ["1.0", "param"]
    run = tracking.start_stage(parent, name, "fp-names", {name: "fp-of-input"})
    readers = {found.info.run_id for found in tracking.consumers_of("fp-of-input", [name])}
    assert run.run_id in readers
    checkpoint = Checkpoint("/store/sft/f1/checkpoint", name, "f1", parent.run_id, {name: 0.5})
    for _ in range(2):
        assert Registry(tracking.uri).register(name, "sft", checkpoint) == 1


def test_metrics_that_are_no_number_are_shown_as_such(
    client: MlflowClient, parent: RunLogger
) -> None:
    parent.metrics({"nan": math.nan, "inf": math.inf, "minus": -math.inf}, 1)
    metrics = client.get_run(parent.run_id).data.metrics
    assert math.isnan(metrics["nan"])
    # MLflow's database keeps the largest number in place of infinity.
    assert metrics["inf"] == sys.float_info.max
    assert metrics["minus"] == -sys.float_info.max


def test_an_error_that_names_a_path_outside_utf8_is_kept(
    client: MlflowClient, parent: RunLogger
) -> None:
    parent.tags({"q2a.error": "no file a\udcff.wav\0"})
    assert client.get_run(parent.run_id).data.tags["q2a.error"] == r"no file a\udcff.wav\x00"


def test_hundreds_of_corpora_fit_into_a_run(client: MlflowClient, parent: RunLogger) -> None:
    parent.params({"weights": {f"corpus {i}": 1.0 for i in range(250)}})
    parent.metrics({f"mixture/corpus {i}": 1.0 for i in range(1100)}, 0)
    data = client.get_run(parent.run_id).data
    assert len(data.params) == 250
    assert len(data.metrics) == 1100


def test_a_logger_that_was_pickled_writes_to_the_same_run(
    client: MlflowClient, parent: RunLogger
) -> None:
    pickle.loads(pickle.dumps(parent)).metrics({"loss": 7.0}, 1)
    run = client.get_run(parent.run_id)
    assert run.data.metrics["loss"] == 7
    assert run.info.status == "RUNNING"


def test_data_sets_show_name_digest_rows_and_source(
    client: MlflowClient, parent: RunLogger
) -> None:
    digest = "a" * 64
    parent.dataset("corpus", digest, "s3://bucket/ingest/aaa", 42)
    (logged,) = client.get_run(parent.run_id).inputs.dataset_inputs
    assert logged.dataset.name == "corpus"
    assert logged.dataset.digest == "a" * 36
    assert json.loads(logged.dataset.profile) == {"num_rows": 42, "sha256": digest}
    assert json.loads(logged.dataset.source) == {"uri": "s3://bucket/ingest/aaa"}


def test_pages_are_kept_with_the_run(
    client: MlflowClient, parent: RunLogger, tmp_path: Path
) -> None:
    parent.text("<p>größe</p>", "report.html")
    path = client.download_artifacts(parent.run_id, "report.html", str(tmp_path))
    assert Path(path).read_text() == "<p>größe</p>"


def test_lineage_walks_both_ways(tracking: Tracking, parent: RunLogger) -> None:
    corpus = tracking.start_stage(parent, "ingest", "fp-corpus", {})
    corpus.finish("FINISHED")
    model = tracking.start_stage(parent, "sft", "fp-model", {"corpus": "fp-corpus"})
    model.finish("FINISHED")
    report = tracking.start_stage(
        parent, "evaluate", "fp-report", {"corpus": "fp-corpus", "base": "fp-model"}
    )
    producer = tracking.producer_of("fp-corpus")
    assert producer is not None
    assert producer.info.run_id == corpus.run_id
    readers = {run.info.run_id for run in tracking.consumers_of("fp-corpus", ["corpus"])}
    assert readers == {model.run_id, report.run_id}
    readers = {run.info.run_id for run in tracking.consumers_of("fp-model", ["base", "corpus"])}
    assert readers == {report.run_id}


def test_only_a_finished_run_counts_as_producer(tracking: Tracking, parent: RunLogger) -> None:
    failed = tracking.start_stage(parent, "sft", "fp-failed", {})
    assert tracking.producer_of("fp-failed") is None
    failed.finish("FAILED")
    assert tracking.producer_of("fp-failed") is None
    assert tracking.producer_of("fp-nobody") is None


def test_abandoned_runs_of_an_artifact_are_ended_and_others_are_not(
    tracking: Tracking, client: MlflowClient, parent: RunLogger
) -> None:
    dead = tracking.start_stage(parent, "sft", "fp-dead", {})
    done = tracking.start_stage(parent, "sft", "fp-dead", {})
    done.finish("FINISHED")
    other = tracking.start_stage(parent, "sft", "fp-alive", {})
    tracking.end_abandoned("fp-dead")
    states = [client.get_run(run.run_id).info.status for run in (dead, done, other)]
    assert states == ["KILLED", "FINISHED", "RUNNING"]


def test_reopening_a_pipeline_gives_its_configuration_back_and_changes_nothing(
    tracking: Tracking, client: MlflowClient
) -> None:
    config = {"profile": "tiny", "sft": {"steps": 3, "mixture": {"replay:digits": 0.5}}}
    begun = tracking.start_pipeline("tiny", config)
    begun.finish("FAILED")
    reopened, values = tracking.reopen_pipeline(begun.run_id)
    assert values == config
    assert reopened.run_id == begun.run_id
    assert client.get_run(begun.run_id).info.status == "FAILED"


def test_a_dead_pipeline_and_its_stages_are_ended_with_the_reason_and_can_be_continued(
    tracking: Tracking, client: MlflowClient
) -> None:
    dead = tracking.start_pipeline("dead", {}, "here")
    alive = tracking.start_pipeline("alive", {}, "elsewhere")
    done = tracking.start_stage(dead, "ingest", "fp-done-before", {})
    done.finish("FINISHED")
    killed = tracking.start_stage(dead, "sft", "fp-killed", {})
    assert tracking.unfinished_pipelines("here") == [dead.run_id]

    tracking.end_dead(dead.run_id)

    runs = [client.get_run(run.run_id) for run in (dead, alive, done, killed)]
    assert [run.info.status for run in runs] == ["KILLED", "RUNNING", "FINISHED", "KILLED"]
    assert ["q2a.error" in run.data.tags for run in runs] == [True, False, False, True]
    assert tracking.unfinished_pipelines("here") == []

    tracking.continue_pipeline(dead, "elsewhere")

    run = client.get_run(dead.run_id)
    assert run.info.status == "RUNNING"
    assert "q2a.error" not in run.data.tags
    assert tracking.unfinished_pipelines("here") == []


def test_a_run_that_was_killed_before_its_configuration_was_kept_is_named(
    tracking: Tracking, client: MlflowClient
) -> None:
    run = client.create_run(tracking.experiment_id, tags={"q2a.kind": "pipeline"})
    with pytest.raises(UnknownRunError, match=r"before its configuration was kept.*q2a run"):
        tracking.reopen_pipeline(run.info.run_id)


def test_an_unknown_run_is_named_with_a_remedy(tracking: Tracking) -> None:
    with pytest.raises(UnknownRunError, match=r"no run 'nonsense'.*q2a show"):
        tracking.reopen_pipeline("nonsense")


def test_a_stage_run_is_refused_and_its_parent_named(tracking: Tracking, parent: RunLogger) -> None:
    child = tracking.start_stage(parent, "sft", "fp-refused", {})
    with pytest.raises(UnknownRunError, match=f"Its parent is {parent.run_id}"):
        tracking.reopen_pipeline(child.run_id)


def test_pipelines_are_listed_newest_first_and_without_stages(tracking: Tracking) -> None:
    first = tracking.start_pipeline("one", {})
    tracking.start_stage(first, "sft", "fp-list", {})
    second = tracking.start_pipeline("two", {})
    listed = [run.info.run_id for run in tracking.pipelines()]
    assert listed.index(second.run_id) < listed.index(first.run_id)
    assert not set(listed) & {run.info.run_id for run in tracking.children_of(first.run_id)}


def test_a_second_opening_finds_the_same_experiment(tracking: Tracking, tmp_path: Path) -> None:
    again = Tracking(tracking.uri, tmp_path / "elsewhere")
    assert again.experiment_id == tracking.experiment_id
