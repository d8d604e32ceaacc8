"""A driver that is killed with SIGKILL in the middle of training loses no finished step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.runners import open_tracking
from infra.settings import Settings
from tasks.evaluate import read_report
from tests.support.tiny_run import DRIVER, Driver, Hold, TinyRun, numbers, run_tiny, training_states


@pytest.fixture
def interrupted(
    tmp_path: Path, drive: Callable[..., Driver], tiny_overrides: tuple[str, ...]
) -> Settings:
    """The world that a driver left which was killed in the middle of pre-training."""
    home = tmp_path / "home"
    environment = {"Q2A_HOME": str(home), "Q2A_STORE": "", "Q2A_TRACKING_URI": ""}
    hold = Hold("pretrain", tmp_path / "held")
    driver = drive([*hold.prefix, "-c", DRIVER, *tiny_overrides], environment)
    driver.kill_9_when(lambda: hold.reached() and len(training_states(home)) > 0)
    return Settings(home=home, store="", tracking_uri="")


def test_a_killed_run_resumes_to_the_numbers_of_an_uninterrupted_one(
    interrupted: Settings, tiny_run: TinyRun
) -> None:
    steps = [int(path.parent.name) for path in training_states(interrupted.home)]
    assert tiny_run.config.pretrain
    assert 0 < max(steps) < tiny_run.config.pretrain.optimizer.steps
    (killed,) = open_tracking(interrupted).pipelines()
    assert killed.info.status == "RUNNING"

    resumed = run_tiny(interrupted, tiny_run.config, killed.info.run_id)

    assert list(resumed.states.values()) == ["hit", "hit", "run", "run", "run", "run", "run"]
    for stage in ("pretrain", "sft", "dpo"):
        name = "checkpoint/model.safetensors"
        assert resumed.artifact(stage).digest(name) == tiny_run.artifact(stage).digest(name)
        assert numbers(resumed, stage) == numbers(tiny_run, stage)
    report = read_report(tiny_run.artifact("evaluate"))
    assert read_report(resumed.artifact("evaluate")) == report

    tracking = resumed.tracking
    assert tracking.pipelines()[0].info.status == "FINISHED"
    stages = [
        (run.info.run_name, run.info.status) for run in tracking.children_of(killed.info.run_id)
    ]
    assert stages[:4] == [
        ("ingest", "FINISHED"),
        ("start", "FINISHED"),
        ("pretrain", "KILLED"),
        ("pretrain", "FINISHED"),
    ]
    assert list((interrupted.home / "scratch").iterdir()) == []
    left = [path for path in Path(interrupted.store_url).rglob("*") if ".partial-" in path.name]
    assert left == []
