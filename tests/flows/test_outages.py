"""Drills of what a run depends on and loses for a while: a node, MLflow, Prefect."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.server_process import free_port
from tests.support.drill_tools import (
    Q2A,
    UNTIL_PRETRAIN,
    Drill,
    kill_whole,
    options,
    pretrained,
    seconds_of,
    start_mlflow_server,
    start_prefect_server,
)
from tests.support.tiny_run import history_numbers, training_states

pytestmark = pytest.mark.drill

OUTAGE_SECONDS = 30


def test_a_run_outlasts_mlflow_being_away_for_half_a_minute(drill: Drill) -> None:
    place, port = drill.folder / "server", free_port()
    server, address = start_mlflow_server(place, port, drill.drive)
    command = (*drill.hold.prefix, "-c", UNTIL_PRETRAIN, *drill.overrides)
    run = drill.start(*command, Q2A_TRACKING_URI=address)
    run.wait_until(lambda: drill.hold.reached() and len(training_states(drill.home)) > 0)
    kill_whole(server)
    drill.hold.let_go()
    time.sleep(OUTAGE_SECONDS)
    assert run.process.poll() is None, run.log.read_text()
    start_mlflow_server(place, port, drill.drive)
    log = run.finish()
    print(log)
    drill.assert_pretrained_as_undisturbed()
    client = MlflowClient(address)
    (experiment,) = client.search_experiments(filter_string="name = 'q2a'")
    runs = client.search_runs([experiment.experiment_id])
    (stage,) = [found for found in runs if found.info.run_name == "pretrain"]
    assert stage.info.status == "FINISHED"
    losses = client.get_metric_history(stage.info.run_id, "loss")
    numbers = history_numbers(pretrained(drill.home))
    assert {m.step: m.value for m in losses} == {int(n["step"]): n["loss"] for n in numbers}
    lost = seconds_of(drill.home) - drill.undisturbed.seconds("pretrain")
    drill.report.add(
        "MLflow server",
        f"SIGKILL during training, back after {OUTAGE_SECONDS} s; every metric arrived",
        lost,
        log,
        "MLflow has taken no metrics for",
    )


def test_a_run_outlasts_prefect_being_away_for_half_a_minute(drill: Drill) -> None:
    place, port = drill.folder / "server", free_port()
    server, address = start_prefect_server(place, port, drill.drive)
    command = (*drill.hold.prefix, Q2A, "run", *options(drill.overrides), "--until", "pretrain")
    run = drill.start(*command, PREFECT_API_URL=address)
    run.wait_until(lambda: drill.hold.reached() and len(training_states(drill.home)) > 0)
    kill_whole(server)
    drill.hold.let_go()
    gone = time.monotonic()
    time.sleep(OUTAGE_SECONDS)
    start_prefect_server(place, port, drill.drive)
    log = run.finish()
    drill.assert_pretrained_as_undisturbed()
    lost = time.monotonic() - gone
    print(log)
    drill.report.add(
        "Prefect server",
        f"SIGKILL during training, back after {OUTAGE_SECONDS} s",
        lost,
        log,
        "Prefect's server has not answered for",
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

    # The usual port of the dashboard may be that of another Ray on this machine.
    head = {"num_cpus": 1, "include_dashboard": True, "dashboard_port": free_port()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=1)
    yield TwoNodes(cluster, second)
    cluster.shutdown()


def test_a_lost_node_costs_a_restart_with_one_worker_less(
    drill: Drill, two_nodes: TwoNodes
) -> None:
    overrides = (
        *drill.overrides,
        "resources.backend=ray",
        "resources.num_workers=2",
        "resources.min_workers=1",
        "resources.placement_seconds=15",
    )
    address = two_nodes.cluster.address
    command = (*drill.hold.prefix, "-c", UNTIL_PRETRAIN, *overrides)
    run = drill.start(*command, Q2A_RAY_ADDRESS=address)
    run.wait_until(lambda: drill.hold.reached(2) and len(training_states(drill.home)) > 0)
    two_nodes.lose_the_second()
    drill.hold.let_go()
    gone = time.monotonic()
    log = run.finish()
    lost = time.monotonic() - gone
    print(log)
    assert "it starts with 1 of 2 workers" in log
    drill.assert_pretrained_nearly_as_undisturbed()
    drill.report.add(
        "node",
        "SIGKILL of all processes of one of two nodes; went on with one worker of two",
        lost,
        log,
        "starts again from its last state",
    )
