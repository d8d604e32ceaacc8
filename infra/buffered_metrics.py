"""Metrics on their way to tracking: training neither waits for the server nor ends with it."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

from infra.retry import Patience


class MetricSink(Protocol):
    """Where metrics go, such as an MLflow run."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one value a name at a step."""
        ...


class BufferedMetrics:
    """Logs metrics from a thread, in order; leaving its context waits for the last ones.

    Where the server stays away for longer than the patience, the rest is given up, and said: the
    stage's history has them all.
    """

    def __init__(
        self,
        sink: MetricSink,
        say: Callable[[str], None],
        patience: Patience = Patience(seconds=600),  # noqa: B008  it is immutable
        silence_seconds: float = 10.0,
    ) -> None:
        """`silence_seconds`: a server that is late by less is not worth a word."""
        self._sink = sink
        self._say = say
        self._patience = patience
        self._silence = silence_seconds
        self._queue: queue.SimpleQueue[tuple[Mapping[str, float], int] | None] = queue.SimpleQueue()
        self._late_since: float | None = None
        self._told = False
        self._lost = 0
        self._thread = threading.Thread(target=self._log_all, name="metrics", daemon=True)

    def __enter__(self) -> "BufferedMetrics":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join(self._silence)
        self._tell_if_late("the end waits for them")
        self._thread.join()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Take one value a name at a step; returns at once."""
        self._queue.put((values, step))
        self._tell_if_late("training goes on")

    def _tell_if_late(self, meanwhile: str) -> None:
        since = self._late_since
        if since is not None and not self._told and time.monotonic() - since > self._silence:
            self._told = True
            self._say(
                f"MLflow has taken no metrics for {time.monotonic() - since:.0f} s; "
                f"{self._queue.qsize() + 1} logs are kept and follow, {meanwhile}"
            )

    def _log_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._lost:
                self._lost += 1
                continue
            self._late_since = time.monotonic()
            try:
                self._patience.run(lambda item=item: self._sink.metrics(*item), "metrics", _nothing)  # type: ignore[misc]
            except Exception as error:
                self._lost = 1
                self._say(
                    f"MLflow takes no metrics ({type(error).__name__}: {error}); those from step "
                    f"{item[1]} on are in the stage's history only"
                )
            else:
                if self._told:
                    late = time.monotonic() - self._late_since
                    self._say(f"MLflow takes metrics again after {late:.0f} s")
            self._late_since, self._told = None, False


def _nothing(_: str) -> None:
    """What patience has to say comes too late: MLflow's client tries long by itself."""
