"""Drills of what a run depends on and loses for a while: a node, MLflow, Prefect."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drill_tools import (
    Q2A,
    UNTIL_PRETRAIN,
    DrillReport,
    environment_of,
    free_port,
    kill_whole,
    options,
    pretrained,
    seconds_of,
    start_mlflow_server,
    start_prefect_server,
)
from mlflow import MlflowClient
from tiny_run import Driver, TinyRun, history_numbers, training_states

pytestmark = pytest.mark.drill

OUTAGE_SECONDS = 30
WEIGHTS = "checkpoint/model.safetensors"


def assert_equals_bit_by_bit(home: Path, tiny_run: TinyRun) -> None:
    undisturbed = tiny_run.artifact("pretrain")
    assert pretrained(home).digest(WEIGHTS) == undisturbed.digest(WEIGHTS)
    assert history_numbers(pretrained(home)) == history_numbers(undisturbed)


def test_a_run_outlasts_mlflow_being_away_for_half_a_minute(
    tmp_path: Path,
    drive: Callable[..., Driver],
    tiny_run: TinyRun,
    tiny_overrides: tuple[str, ...],
    drill_report: DrillReport,
) -> None:
    home, port = tmp_path / "home", free_port()
    server, address = start_mlflow_server(tmp_path / "server", port, drive)
    environment = environment_of(home) | {"Q2A_TRACKING_URI": address}
    run = drive(["-c", UNTIL_PRETRAIN, *tiny_overrides], environment)
    run.wait_until(lambda: len(training_states(home)) > 0)
    kill_whole(server)
    time.sleep(OUTAGE_SECONDS)
    assert run.process.poll() is None, run.log.read_text()
    start_mlflow_server(tmp_path / "server", port, drive)
    log = run.finish()
    print(log)
    assert_equals_bit_by_bit(home, tiny_run)
    client = MlflowClient(address)
    (experiment,) = client.search_experiments(filter_string="name = 'q2a'")
    runs = client.search_runs([experiment.experiment_id])
    (stage,) = [found for found in runs if found.info.run_name == "pretrain"]
    assert stage.info.status == "FINISHED"
    losses = client.get_metric_history(stage.info.run_id, "loss")
    numbers = history_numbers(pretrained(home))
    assert {m.step: m.value for m in losses} == {int(n["step"]): n["loss"] for n in numbers}
    lost = seconds_of(home) - tiny_run.seconds("pretrain")
    drill_report.add(
        "MLflow server",
        f"SIGKILL during training, back after {OUTAGE_SECONDS} s; every metric arrived",
        lost,
        log,
        "MLflow has taken no metrics for",
    )


def test_a_run_outlasts_prefect_being_away_for_half_a_minute(
    tmp_path: Path,
    drive: Callable[..., Driver],
    tiny_run: TinyRun,
    tiny_overrides: tuple[str, ...],
    drill_report: DrillReport,
) -> None:
    home, port = tmp_path / "home", free_port()
    server, address = start_prefect_server(tmp_path / "server", port, drive)
    environment = environment_of(home) | {"PREFECT_API_URL": address}
    run = drive([Q2A, "run", *options(tiny_overrides), "--until", "pretrain"], environment)
    run.wait_until(lambda: len(training_states(home)) > 0)
    kill_whole(server)
    gone = time.monotonic()
    time.sleep(OUTAGE_SECONDS)
    start_prefect_server(tmp_path / "server", port, drive)
    log = run.finish()
    assert_equals_bit_by_bit(home, tiny_run)
    lost = time.monotonic() - gone
    print(log)
    drill_report.add(
        "Prefect server",
        f"SIGKILL during training, back after {OUTAGE_SECONDS} s",
        lost,
        log,
        "EventsWorker",
    )


@dataclass
class TwoNodes:
    """A Ray cluster of two nodes with one CPU each, on this machine."""

    cluster: Any
    second: Any

    def lose_the_second(self) -> None:
        """SIGKILL every process of the second node."""
        self.cluster.remove_node(self.second, allow_graceful=False)


@pytest.fixture
def two_nodes() -> Iterator[TwoNodes]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True}
    )
    second = cluster.add_node(num_cpus=1)
    yield TwoNodes(cluster, second)
    cluster.shutdown()


def test_a_lost_node_costs_a_restart_with_one_worker_less(
    tmp_path: Path,
    drive: Callable[..., Driver],
    tiny_run: TinyRun,
    tiny_overrides: tuple[str, ...],
    two_nodes: TwoNodes,
    drill_report: DrillReport,
) -> None:
    home = tmp_path / "home"
    overrides = (
        *tiny_overrides,
        "resources.backend=ray",
        "resources.num_workers=2",
        "resources.min_workers=1",
        "resources.placement_seconds=15",
    )
    environment = environment_of(home) | {"Q2A_RAY_ADDRESS": two_nodes.cluster.address}
    run = drive(["-c", UNTIL_PRETRAIN, *overrides], environment)
    run.wait_until(lambda: len(training_states(home)) > 0)
    two_nodes.lose_the_second()
    gone = time.monotonic()
    log = run.finish()
    lost = time.monotonic() - gone
    print(log)
    assert "it starts with 1 of 2 workers" in log
    alone = history_numbers(tiny_run.artifact("pretrain"))
    found = history_numbers(pretrained(home))
    assert [entry["step"] for entry in found] == [entry["step"] for entry in alone]
    assert [entry["loss"] for entry in found] == pytest.approx(
        [entry["loss"] for entry in alone], rel=1e-5, abs=0
    )
    drill_report.add(
        "node",
        "SIGKILL of all processes of one of two nodes; went on with one worker of two",
        lost,
        log,
        "starts again from its last state",
    )
