"""Drills: killed drivers and workers, a schedule that fires, a store on S3. Run by `make drill`."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.seaweed import BUCKET, KEYS, seaweed
from flows.runners import open_tracking
from infra.server_process import free_port
from infra.settings import Settings
from infra.storage.store import Store
from tasks.evaluate import read_report
from tests.support.drill_tools import (
    NAMES,
    Q2A,
    WEIGHTS,
    Drill,
    environment_of,
    options,
    result_of,
    seconds_of,
    settings_of,
    start_prefect_server,
    train_workers,
    wait_until,
)
from tests.support.tiny_run import DRIVER, Driver, Hold, numbers, training_states

pytestmark = pytest.mark.drill


def test_a_command_killed_in_ingest_and_in_pretraining_resumes_to_the_same_numbers(
    drill: Drill,
) -> None:
    home, tiny_run = drill.home, drill.undisturbed

    def shard_rows() -> list[Path]:
        return list(home.glob("store/ingest/*/corpus/shard-*.jsonl"))

    began = time.monotonic()
    in_ingest = Hold("ingest", drill.folder / "held-in-ingest")
    first = drill.start(*in_ingest.prefix, Q2A, "run", *options(drill.overrides))
    first.kill_9_when(lambda: in_ingest.reached() and len(shard_rows()) > 0)
    assert list(home.glob("store/ingest/*/record.json")) == []
    made_before = len(shard_rows())
    (run,) = open_tracking(settings_of(home)).pipelines()

    second = drill.start(*drill.hold.prefix, Q2A, "resume", run.info.run_id)
    second.kill_9_when(lambda: drill.hold.reached() and len(training_states(home)) > 0)
    assert list(home.glob("store/pretrain/*/record.json")) == []
    written = second.log.read_text().count("ingest: shard ")
    assert written == 9 - made_before, "a finished shard was made again"

    third = drill.start(Q2A, "resume", run.info.run_id)
    log = third.finish()
    lost = time.monotonic() - began - sum(map(tiny_run.seconds, NAMES))
    print(log)

    resumed = result_of(settings_of(home), drill.overrides)
    assert resumed.run_id == run.info.run_id
    assert resumed.states == dict.fromkeys(NAMES, "run") | {"ingest": "hit"}
    for stage in ("pretrain", "sft", "dpo"):
        assert resumed.artifact(stage).digest(WEIGHTS) == tiny_run.artifact(stage).digest(WEIGHTS)
        assert numbers(resumed, stage) == numbers(tiny_run, stage)
    report = read_report(tiny_run.artifact("evaluate"))
    assert read_report(resumed.artifact("evaluate")) == report
    children = resumed.tracking.children_of(run.info.run_id)
    assert [(child.info.run_name, child.info.status) for child in children] == [
        ("ingest", "KILLED"),
        ("ingest", "FINISHED"),
        ("start", "FINISHED"),
        ("pretrain", "KILLED"),
        *((name, "FINISHED") for name in NAMES[2:]),
    ]
    drill.report.add(
        "driver",
        "SIGKILL of `q2a run` in ingest, of its `q2a resume` in training; a third command ends it",
        lost,
        log,
        "continues from the state after step",
    )


def test_sigterm_ends_a_run_as_killed_and_resume_completes_it(drill: Drill) -> None:
    home = drill.home
    driver = drill.start(*drill.hold.prefix, Q2A, "run", *options(drill.overrides))
    driver.wait_until(lambda: drill.hold.reached() and len(training_states(home)) > 0)
    driver.process.terminate()
    assert driver.process.wait(300) != 0
    (run,) = open_tracking(settings_of(home)).pipelines()
    assert run.info.status == "KILLED"
    drill.start(Q2A, "resume", run.info.run_id).finish()
    resumed = result_of(settings_of(home), drill.overrides)
    expected = drill.undisturbed.artifact("dpo").digest(WEIGHTS)
    assert resumed.artifact("dpo").digest(WEIGHTS) == expected


@pytest.fixture
def prefect_server(tmp_path: Path, drive: Callable[..., Driver]) -> str:
    """A real Prefect server with a database of its own; its API's address."""
    return start_prefect_server(tmp_path / "server", free_port(), drive)[1]


def flow_runs(address: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{address}/flow_runs/filter", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def test_a_schedule_fires_by_itself_and_its_run_completes(
    tmp_path: Path, drive: Callable[..., Driver], small_manifest: Path, prefect_server: str
) -> None:
    home = tmp_path / "home"
    # Not every minute, which would keep `serve` busy when it is stopped; the later ones are for a
    # machine on which the servers are not there in time for the first.
    due = [datetime.now(UTC) + timedelta(seconds=110 + 300 * late) for late in range(4)]
    minutes, hours = (",".join(sorted({f"{at:{part}}" for at in due})) for part in ("%-M", "%-H"))
    overrides = (f"data.manifest={small_manifest}", f"schedule.cron={minutes} {hours} * * *")
    environment = environment_of(home) | {"PREFECT_API_URL": prefect_server}
    serve = drive([Q2A, "serve", *options(overrides)], environment)

    def completed() -> list[dict[str, Any]]:
        assert serve.process.poll() is None, serve.log.read_text()
        return [run for run in flow_runs(prefect_server) if run["state_name"] == "Completed"]

    wait_until(lambda: bool(completed()), 1500, "a scheduled run completes")
    run = completed()[-1]
    print({key: run[key] for key in ("name", "state_name", "auto_scheduled", "start_time")})
    assert run["name"].startswith("tiny ")
    assert run["auto_scheduled"]
    serve.process.send_signal(signal.SIGINT)
    serve.process.wait(600)
    made = result_of(settings_of(home), overrides)
    assert [outcome.stage for outcome in made.outcomes] == NAMES


def test_two_ray_workers_train_alike_and_a_killed_one_changes_nothing(drill: Drill) -> None:
    on_ray = (*drill.overrides, "resources.backend=ray", "resources.num_workers=2")
    calm, shaken = drill.home, drill.folder / "shaken"
    drill.start("-c", DRIVER, *on_ray).finish()
    undisturbed = result_of(settings_of(calm), on_ray)
    assert undisturbed.states == dict.fromkeys(NAMES, "run")
    drill.assert_pretrained_nearly_as_undisturbed()

    driver = drill.start(*drill.hold.prefix, "-c", DRIVER, *on_ray, home=shaken)
    driver.wait_until(lambda: drill.hold.reached(2) and len(training_states(shaken)) > 0)
    victim = train_workers(driver)[0]
    os.kill(victim.pid, signal.SIGKILL)
    assert list(shaken.glob("store/pretrain/*/record.json")) == []
    print(f"killed worker {victim.pid} at states", training_states(shaken))
    drill.hold.let_go()
    log = driver.finish()
    disturbed = result_of(settings_of(shaken), on_ray)
    assert numbers(disturbed, "pretrain") == numbers(undisturbed, "pretrain")
    for stage in ("pretrain", "sft", "dpo"):
        expected = undisturbed.artifact(stage).digest(WEIGHTS)
        assert disturbed.artifact(stage).digest(WEIGHTS) == expected
    drill.report.add(
        "worker",
        "SIGKILL of one of two training workers",
        seconds_of(shaken) - seconds_of(calm),
        log,
        "starts again from its last state",
    )


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """A real S3 server with a bucket; the variables that lead to it."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with seaweed(tmp_path / "weed") as endpoint:
        yield {"Q2A_STORE": f"s3://{BUCKET}/store", "Q2A_S3_ENDPOINT_URL": endpoint, **KEYS}


def test_the_pipeline_keeps_its_artifacts_on_s3(drill: Drill, s3: Mapping[str, Any]) -> None:
    home, tiny_run = drill.home, drill.undisturbed
    drill.start("-c", DRIVER, *drill.overrides, **s3).finish()
    second = drill.start("-c", DRIVER, *drill.overrides, **s3).finish()
    print(second)
    for name in NAMES:
        assert f"{name}: hit" in second
    assert not (home / "store").exists()
    assert list((home / "scratch").iterdir()) == []
    store = Store(s3["Q2A_STORE"], {"endpoint_url": s3["Q2A_S3_ENDPOINT_URL"]})
    for outcome in tiny_run.outcomes:
        directory = store.below(outcome.stage, outcome.record.fingerprint)
        kept = {file.path for file in outcome.record.files} | {"record.json"}
        assert set(directory.list_keys()) == kept
        if outcome.stage in ("pretrain", "sft", "dpo"):
            assert directory.digest(WEIGHTS) == tiny_run.artifact(outcome.stage).digest(WEIGHTS)
    settings = Settings(
        home=home,
        store=s3["Q2A_STORE"],
        s3_endpoint_url=s3["Q2A_S3_ENDPOINT_URL"],
        tracking_uri="",
    )
    assert result_of(settings, drill.overrides).states == dict.fromkeys(NAMES, "hit")
