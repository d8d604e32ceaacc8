"""Drills: a run through the real command, on Ray and Prefect, is stopped or killed in training."""

import os
import signal
import time

import psutil
import pytest

from flows.runners import open_tracking
from infra.reaper import marked_processes
from tests.support.drill_tools import Q2A, WEIGHTS, Drill, options, result_of, settings_of
from tests.support.tiny_run import Driver, training_states

pytestmark = pytest.mark.drill

END_SECONDS = 15


def mark_of(driver: Driver) -> str:
    """The mark that a driver's processes carry; its reaper has it as last argument."""
    for child in psutil.Process(driver.process.pid).children():
        if "reaper.py" in " ".join(child.cmdline()):
            return str(child.cmdline()[-1])
    raise AssertionError("the driver has no reaper")


def start_and_reach_training(drill: Drill) -> tuple[Driver, str]:
    on_ray = (*drill.overrides, "resources.backend=ray", "resources.num_workers=1")
    driver = drill.start(*drill.hold.prefix, Q2A, "run", *options(on_ray))
    driver.wait_until(lambda: drill.hold.reached() and len(training_states(drill.home)) > 0)
    mark = mark_of(driver)
    names = [" ".join(psutil.Process(pid).cmdline()) for pid, _ in marked_processes(mark)]
    for name in ("prefect.server", "raylet", "gcs_server", "RayTrainWorker"):
        assert any(name in line for line in names), (name, names)
    return driver, mark


def wait_until_nothing_is_left(mark: str, began: float) -> float:
    while left := marked_processes(mark):
        names = [psutil.Process(pid).cmdline() for pid, _ in left if psutil.pid_exists(pid)]
        assert time.monotonic() < began + END_SECONDS, f"still running: {names}"
        time.sleep(0.1)
    return time.monotonic() - began


def resume_and_compare(drill: Drill) -> str:
    """Continue the home's one pipeline run; its models are those of the undisturbed run."""
    (run,) = open_tracking(settings_of(drill.home)).pipelines()
    log = drill.start(Q2A, "resume", run.info.run_id).finish()
    resumed = result_of(settings_of(drill.home), drill.overrides)
    assert resumed.run_id == run.info.run_id
    for stage in ("pretrain", "dpo"):
        expected = drill.undisturbed.artifact(stage).digest(WEIGHTS)
        assert resumed.artifact(stage).digest(WEIGHTS) == expected
    assert "continues from the state after step" in log
    return log


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_group_ends_the_run_in_time_and_leaves_nothing(
    drill: Drill, number: signal.Signals, code: int
) -> None:
    driver, mark = start_and_reach_training(drill)
    began = time.monotonic()
    os.killpg(driver.process.pid, number)
    assert driver.process.wait(END_SECONDS) == code, driver.log.read_text()
    seconds = wait_until_nothing_is_left(mark, began)
    log = driver.log.read_text()
    print(log, seconds)
    tracking = open_tracking(settings_of(drill.home))
    (run,) = tracking.pipelines()
    assert run.info.status == "KILLED"
    states = [
        (child.info.run_name, child.info.status) for child in tracking.children_of(run.info.run_id)
    ]
    assert states == [("ingest", "FINISHED"), ("pretrain", "KILLED")]
    said = f"stopped by {number.name}; `q2a resume {run.info.run_id}` continues"
    assert said in log
    assert "Traceback" not in log
    resume_and_compare(drill)
    drill.report.add(
        number.name,
        f"{number.name} to the group of `q2a run` on Ray, in training; ended with code {code}, "
        "nothing was left, resumed bit-equal",
        seconds,
        log,
        said,
    )


def test_sigkill_of_the_driver_leaves_nothing_running(drill: Drill) -> None:
    driver, mark = start_and_reach_training(drill)
    began = time.monotonic()
    driver.process.kill()
    seconds = wait_until_nothing_is_left(mark, began)
    print(driver.log.read_text(), seconds)
    log = resume_and_compare(drill)
    drill.report.add(
        "driver on Ray",
        "SIGKILL of `q2a run` on Ray, in training; Ray, its workers and Prefect's server ended",
        seconds,
        log,
        "continues from the state after step",
    )
