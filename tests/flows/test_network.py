"""Drills of the network: a run needs nothing but loopback, and nothing of it listens elsewhere."""

import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

from infra.server_process import free_port
from tests.support.drill_tools import (
    EXECUTE,
    Q2A,
    WEIGHTS,
    Drill,
    answers,
    environment_of,
    options,
    result_of,
    settings_of,
    wait_until,
)
from tests.support.listening import beyond_loopback, listening

pytestmark = pytest.mark.drill

WITH_RAY = ("resources.backend=ray", "resources.num_workers=1")
ALONE = [
    "unshare", "--net" if os.getuid() == 0 else "-rn",
    "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
]  # fmt: skip
"""Goes before a command that finds loopback alone, in a network namespace of its own."""
START_ALONE = [*EXECUTE, *ALONE]


def test_a_run_needs_nothing_that_is_not_on_loopback(drill: Drill) -> None:
    probe = subprocess.run([*ALONE, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no network namespace of one's own here: {probe.stderr.strip()}")
    reached = "import socket; socket.create_connection(('192.0.2.1', 9), 5)"
    out = subprocess.run(
        [*ALONE, sys.executable, "-c", reached], capture_output=True, text=True, check=False
    )
    assert "Network is unreachable" in out.stderr
    overrides = (*drill.overrides, *WITH_RAY)
    began = time.monotonic()
    log = drill.start(*START_ALONE, sys.executable, Q2A, "run", *options(overrides)).finish()
    lost = time.monotonic() - began
    run = result_of(settings_of(drill.home), overrides)
    assert run.artifact("dpo").digest(WEIGHTS) == drill.undisturbed.artifact("dpo").digest(WEIGHTS)
    drill.report.add(
        "network", "a whole run in a network namespace with nothing but `lo`", lost, log,
        "pipeline run",
    )  # fmt: skip


def test_a_run_listens_on_loopback_alone_and_asks_no_proxy(drill: Drill) -> None:
    dead = "http://127.0.0.1:9"
    names = ("http_proxy", "https_proxy", "all_proxy")
    proxies = {name: dead for lower in names for name in (lower, lower.upper())}
    environment = environment_of(drill.home) | proxies | dict.fromkeys(("no_proxy", "NO_PROXY"), "")
    overrides = (*drill.overrides, *WITH_RAY)
    began = time.monotonic()
    command = [*drill.hold.prefix, Q2A, "run", *options(overrides), "--until", "pretrain"]
    run = drill.drive(command, environment)
    run.wait_until(drill.hold.reached)
    addresses = listening(run.process.pid)
    processes = set(addresses.values())
    assert {"gcs_server", "raylet"} <= processes
    assert any("TrainWorker" in name for name in processes), processes
    assert beyond_loopback(addresses) == {}
    drill.hold.let_go()
    log = run.finish()
    drill.assert_pretrained_as_undisturbed()
    drill.report.add(
        "proxy", "a proxy in the environment that answers nobody", time.monotonic() - began, log,
        "pipeline run",
    )  # fmt: skip


def test_the_interfaces_and_the_schedule_listen_on_loopback_alone(drill: Drill) -> None:
    mlflow, prefect = free_port(), free_port()
    ui = drill.start(Q2A, "ui", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect))
    api = f"http://127.0.0.1:{prefect}/api"
    wait_until(lambda: answers(f"{api}/health"), 600, "Prefect answers")
    wait_until(lambda: answers(f"http://127.0.0.1:{mlflow}/health"), 600, "MLflow answers")
    serve = drill.start(Q2A, "serve", *options(drill.overrides), PREFECT_API_URL=api)

    def deployments() -> int:
        assert serve.process.poll() is None, serve.log.read_text()
        request = urllib.request.Request(
            f"{api}/deployments/count", b"{}", {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(json.load(answer))

    wait_until(lambda: deployments() == 1, 600, "the schedule is registered")
    addresses = listening(ui.process.pid) | listening(serve.process.pid)
    assert {f"127.0.0.1:{mlflow}", f"127.0.0.1:{prefect}"} <= addresses.keys()
    assert beyond_loopback(addresses) == {}
