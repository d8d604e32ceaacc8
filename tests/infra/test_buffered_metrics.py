"""Metrics reach a server that was away, in order, and training does not wait for it."""

import threading
from collections.abc import Mapping

import pytest

from infra.buffered_metrics import BufferedMetrics
from infra.retry import Patience
from tests.support.clock import Clock

PATIENT = Patience(seconds=3600, first_pause=0.01, longest_pause=0.01)
IMPATIENT = Patience(seconds=0, attempts=3, first_pause=0.001)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of what is said; patience has the real one."""
    found = Clock()
    monkeypatch.setattr("infra.buffered_metrics.time", found)
    return found


class Server:
    """Stands for a tracking server that may be away."""

    def __init__(self) -> None:
        self.there, self.asked = threading.Event(), threading.Event()
        self.taken: list[tuple[Mapping[str, float], int]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.asked.set()
        if not self.there.is_set():
            raise ConnectionError("connection refused")
        self.taken.append((values, step))


def test_what_was_logged_while_the_server_was_away_follows_in_order(clock: Clock) -> None:
    server, said = Server(), list[str]()
    with BufferedMetrics(server, said.append, PATIENT, 10.0) as buffered:
        for step in range(5):
            buffered.metrics({"loss": float(step)}, step)
            assert server.asked.wait(300)
            clock.sleep(6)
        assert server.taken == []
        server.there.set()
    assert server.taken == [({"loss": float(step)}, step) for step in range(5)]
    assert said == [
        "MLflow has taken no metrics for 12 s; 3 logs are kept and follow, training goes on",
        "MLflow takes metrics again after 30 s",
    ]


def test_a_server_that_stays_away_does_not_hold_the_end_of_the_run() -> None:
    said: list[str] = []
    with BufferedMetrics(Server(), said.append, IMPATIENT) as buffered:
        for step in range(3):
            buffered.metrics({"loss": 1.0}, step)
    assert said == [
        "MLflow takes no metrics (ConnectionError: connection refused); those from step 0 on are "
        "in the stage's history only"
    ]


def test_nothing_is_said_where_all_is_well() -> None:
    server, said = Server(), list[str]()
    server.there.set()
    with BufferedMetrics(server, said.append) as buffered:
        buffered.metrics({"loss": 1.0}, 7)
    assert server.taken == [({"loss": 1.0}, 7)]
    assert said == []
