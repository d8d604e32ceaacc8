"""Metrics reach a server that was away, in order, and training does not wait for it."""

import threading
from collections.abc import Mapping

import pytest

from infra.buffered_metrics import BufferedMetrics
from infra.retry import RetryPolicy
from tests.support.clock import Clock

AN_HOUR = RetryPolicy(seconds=3600, first_backoff_seconds=0.01, max_backoff_seconds=0.01)
THREE_ATTEMPTS = RetryPolicy(seconds=0, attempts=3, first_backoff_seconds=0.001)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the reports; retries have the real one."""
    clock = Clock()
    monkeypatch.setattr("infra.buffered_metrics.time", clock)
    return clock


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
    server, lines = Server(), list[str]()
    with BufferedMetrics(server, lines.append, AN_HOUR, 10.0) as buffered:
        for step in range(5):
            buffered.metrics({"loss": float(step)}, step)
            assert server.asked.wait(300)
            clock.sleep(6)
        assert server.taken == []
        server.there.set()
    assert server.taken == [({"loss": float(step)}, step) for step in range(5)]
    assert lines == [
        "MLflow has taken no metrics for 12 s; 3 logs are kept and follow, training goes on",
        "MLflow takes metrics again after 30 s",
    ]


def test_a_server_that_stays_away_does_not_hold_the_end_of_the_run() -> None:
    lines: list[str] = []
    with BufferedMetrics(Server(), lines.append, THREE_ATTEMPTS) as buffered:
        for step in range(3):
            buffered.metrics({"loss": 1.0}, step)
    assert lines == [
        "MLflow takes no metrics (ConnectionError: connection refused); those from step 0 on are "
        "in the stage's history only"
    ]


def test_metrics_that_nobody_will_take_are_not_kept() -> None:
    server, lines = Server(), list[str]()
    with BufferedMetrics(server, lines.append, THREE_ATTEMPTS) as buffered:
        buffered.metrics({"loss": 1.0}, 0)
        buffered._thread.join()
        buffered.metrics({"loss": 1.0}, 1)
        assert buffered._queue.qsize() == 0


def test_nothing_is_lines_where_all_is_well() -> None:
    server, lines = Server(), list[str]()
    server.there.set()
    with BufferedMetrics(server, lines.append) as buffered:
        buffered.metrics({"loss": 1.0}, 7)
    assert server.taken == [({"loss": 1.0}, 7)]
    assert lines == []
