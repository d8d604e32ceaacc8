"""What an engineer finds of a whole run in MLflow alone, without the store."""

import json
from pathlib import Path

import mlflow
import pytest

from infra.tracking_names import tracking_name
from tasks.evaluate import read_report
from tests.support.tiny_run import TinyRun

TRAINED = ["pretrain", "sft", "dpo"]


def test_a_registered_version_answers_a_question_about_a_file(
    tiny_run: TinyRun, small_manifest: Path, tmp_path: Path
) -> None:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tiny_run.tracking.uri)
    try:
        # A copy: MLflow writes beside what it loads.
        model = mlflow.pyfunc.load_model("models:/qwen2-audio-tiny@dpo", dst_path=str(tmp_path))
    finally:
        mlflow.set_tracking_uri(before)
    row = json.loads(small_manifest.read_text().splitlines()[0])
    question = {"audio": row["audio"], "question": "What is said?"}
    (answer,) = model.predict([question], params={"max_new_tokens": 5})
    assert isinstance(answer, str)


def test_the_pipelines_run_has_what_runs_are_compared_by(tiny_run: TinyRun) -> None:
    data = tiny_run.client.get_run(tiny_run.run_id).data
    steps = tiny_run.config.recipe("sft").model_dump()["optimizer"]["steps"]
    assert data.params["sft.optimizer.steps"] == str(steps)
    report = read_report(tiny_run.artifact("evaluate"))
    for result in report.results:
        name = tracking_name(f"evaluate.{result.suite}.{result.metric}.{result.checkpoint}")
        assert data.metrics[name] == pytest.approx(result.value, nan_ok=True)
    assert {f"{stage}.loss" for stage in TRAINED} <= set(data.metrics)
    assert not any(name.startswith("final.") for name in data.metrics)


def test_mixture_and_predictions_are_tables(tiny_run: TinyRun) -> None:
    for stage, table in (("sft", "mixture.json"), ("evaluate", "predictions.json")):
        run = tiny_run.tracking.producer_of(tiny_run.artifact(stage).url.rsplit("/", 1)[-1])
        assert run is not None
        path = tiny_run.client.download_artifacts(run.info.run_id, table)
        rows = json.loads(Path(path).read_text())
        assert rows["data"]
    assert {"suite", "id", "question", "reference", "dpo: answer"} <= set(rows["columns"])
