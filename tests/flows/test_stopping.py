"""Drills: real commands are stopped or killed; they end in time and leave nothing running."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows.runners import open_tracking
from infra.reaper import marked_processes
from infra.server_process import free_port
from tests.support.drill_tools import (
    END_SECONDS,
    Q2A,
    WEIGHTS,
    Drill,
    answers,
    environment_of,
    mark_of,
    options,
    result_of,
    settings_of,
    start_prefect_server,
    wait_until,
    wait_until_nothing_is_left,
)
from tests.support.tiny_run import Driver, training_states

pytestmark = pytest.mark.drill


def start_and_reach_training(drill: Drill) -> tuple[Driver, str]:
    on_ray = (*drill.overrides, "resources.backend=ray", "resources.num_workers=1")
    driver = drill.start(*drill.hold.prefix, Q2A, "run", *options(on_ray))
    driver.wait_until(lambda: drill.hold.reached() and len(training_states(drill.home)) > 0)
    mark = mark_of(driver)
    names = [" ".join(psutil.Process(pid).cmdline()) for pid, _ in marked_processes(mark)]
    for name in ("prefect.server", "raylet", "gcs_server", "RayTrainWorker"):
        assert any(name in line for line in names), (name, names)
    return driver, mark


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
    assert states == [("ingest", "FINISHED"), ("start", "FINISHED"), ("pretrain", "KILLED")]
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


def assert_ends_in_time(driver: Driver, number: signal.Signals, code: int) -> None:
    mark, began = mark_of(driver), time.monotonic()
    assert len(marked_processes(mark)) > 0
    driver.process.send_signal(number)
    assert driver.process.wait(END_SECONDS) == code, driver.log.read_text()
    wait_until_nothing_is_left(mark, began)
    assert f"stopped by {number.name}" in driver.log.read_text()


def test_the_pages_of_q2a_ui_ask_the_api_on_the_port_that_was_chosen_and_end_by_sigterm(
    tmp_path: Path, drive: Callable[..., Driver]
) -> None:
    mlflow, prefect = free_port(), free_port()
    command = [Q2A, "ui", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect)]
    # Of another server, as somebody has it who runs `q2a serve` in the same shell.
    environment = environment_of(tmp_path / "home") | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    driver = drive(command, environment)
    urls = (f"http://127.0.0.1:{prefect}/ui-settings", f"http://127.0.0.1:{mlflow}/health")
    driver.wait_until(lambda: all(answers(url) for url in urls))
    with urllib.request.urlopen(urls[0]) as answer:
        assert json.load(answer)["api_url"] == f"http://127.0.0.1:{prefect}/api"
    second = drive(command, environment)
    assert second.process.wait(120) == 2
    assert f"MLflow's UI can't have port {mlflow} of 127.0.0.1" in second.log.read_text()
    assert_ends_in_time(driver, signal.SIGTERM, 143)


def test_q2a_serve_ends_by_sigterm_and_tells_how_its_runs_ended(
    tmp_path: Path, drive: Callable[..., Driver], small_manifest: Path
) -> None:
    _, address = start_prefect_server(tmp_path / "server", free_port(), drive)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("not a manifest")
    overrides = (f"data.manifest={manifest}", "schedule.cron=0 0 1 1 *")
    environment = environment_of(tmp_path / "home") | {"PREFECT_API_URL": address}
    serve = drive([Q2A, "serve", *options(overrides)], environment)
    serve.wait_until(lambda: "serving tiny" in serve.log.read_text())
    started = drive(["-m", "prefect", "deployment", "run", "q2a/tiny"], environment)
    started.finish()
    wait_until(lambda: " is Failed: " in serve.log.read_text(), 300, "the run has failed")
    log = serve.log.read_text()
    print(log)
    assert " is Running" in log
    (written,) = [
        path
        for path in (tmp_path / "home/logs").glob("*.log")
        if "the run failed" in path.read_text()
    ]
    assert "Traceback (most recent call last)" in written.read_text()
    assert_ends_in_time(serve, signal.SIGTERM, 143)
