"""What MLflow shows of who started a run, with which code, and how busy the machine was."""

import getpass
import subprocess
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.run_source import git_commit
from infra.system_metrics import system_metrics
from infra.tracking import RunLogger, Tracking
from tests.support.documents import ROOT


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


def test_a_pipeline_shows_its_configuration_its_user_and_the_commit_of_the_code(
    tracking: Tracking, client: MlflowClient
) -> None:
    begun = tracking.start_pipeline("tiny", {"profile": "tiny", "sft": {"steps": 3}})
    run = client.get_run(begun.run_id)
    assert run.data.params == {"profile": "tiny", "sft.steps": "3"}
    assert run.data.tags["mlflow.user"] == getpass.getuser()
    assert run.data.tags["mlflow.source.name"] == "q2a"
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert run.data.tags["mlflow.source.git.commit"] == head.stdout.strip()


def test_code_that_no_repository_keeps_has_no_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", str(tmp_path), *author, *arguments], check=True)

    git("init", "-q")
    kept, installed = tmp_path / "kept.py", tmp_path / "installed.py"
    for file in (kept, installed):
        file.touch()
    git("add", "kept.py")
    git("commit", "-qm", "first")
    assert len(git_commit(kept) or "") == 40
    assert git_commit(installed) is None


def test_the_load_of_the_machine_is_measured_and_nothing_goes_on_afterwards(
    client: MlflowClient, parent: RunLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")
    before = set(threading.enumerate())

    def measured() -> dict[str, float]:
        metrics = client.get_run(parent.run_id).data.metrics
        return {name: value for name, value in metrics.items() if name.startswith("system/")}

    with system_metrics(parent):
        end = time.monotonic() + 120
        while not measured() and time.monotonic() < end:
            time.sleep(0.2)
    assert 0 <= measured()["system/system_memory_usage_percentage"] <= 100
    assert set(threading.enumerate()) <= before
