"""Metrics reach a server that was away, in order, and training does not wait for it."""

import threading
from collections.abc import Mapping

from infra.buffered_metrics import BufferedMetrics
from infra.patience import Patience

QUICK = Patience(seconds=0.1, first_pause=0.001, longest_pause=0.01)


class Server:
    """Stands for a tracking server that may be away."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.taken: list[tuple[Mapping[str, float], int]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        if not self.there.is_set():
            raise ConnectionError("connection refused")
        self.taken.append((values, step))


def test_what_was_logged_while_the_server_was_away_follows_in_order() -> None:
    server, said = Server(), list[str]()
    with BufferedMetrics(server, said.append, Patience(30, 0.01, 0.01), 0.0) as buffered:
        for step in range(5):
            buffered.metrics({"loss": float(step)}, step)
            threading.Event().wait(0.02)
        assert server.taken == []
        server.there.set()
    assert server.taken == [({"loss": float(step)}, step) for step in range(5)]
    assert "logs are kept and follow, training goes on" in said[0]
    assert said[1].startswith("MLflow takes metrics again after ")
    assert len(said) == 2


def test_a_server_that_stays_away_does_not_hold_the_end_of_the_run() -> None:
    said: list[str] = []
    with BufferedMetrics(Server(), said.append, QUICK) as buffered:
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
