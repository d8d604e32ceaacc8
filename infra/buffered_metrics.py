"""Metrics on their way to tracking: training neither waits for the server nor ends with it."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from infra.retry import RetryPolicy, error_text


class MetricSink(Protocol):
    """Where metrics go, such as an MLflow run."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one value for each name at a step."""
        ...


class BufferedMetrics:
    """Logs metrics from a thread, in order; leaving its context waits for the last ones.

    Where the server stays away for longer than the retries last, the rest is given up, and the log
    says so: the stage's history has all metrics.
    """

    def __init__(
        self,
        sink: MetricSink,
        progress: Callable[[str], None],
        retry: RetryPolicy = RetryPolicy(seconds=600),  # noqa: B008  it is immutable
        silence_seconds: float = 10.0,
    ) -> None:
        """`silence_seconds`: a server that is late by less is not worth a line."""
        self._sink = sink
        self._progress = progress
        self._retry = retry
        self._silence_seconds = silence_seconds
        self._queue: queue.SimpleQueue[tuple[Mapping[str, float], int] | None] = queue.SimpleQueue()
        self._late_since: float | None = None
        self._is_reported = False
        self._is_given_up = False
        self._thread = threading.Thread(target=self._log_all, name="metrics", daemon=True)

    def __enter__(self) -> "BufferedMetrics":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join(self._silence_seconds)
        self._report_if_late("the end waits for them")
        self._thread.join()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Take one value for each name at a step; return at once."""
        if self._is_given_up:
            return
        self._queue.put((values, step))
        self._report_if_late("training goes on")

    def _report_if_late(self, meanwhile: str) -> None:
        since = self._late_since
        if since is None or self._is_reported:
            return
        late_seconds = time.monotonic() - since
        if late_seconds > self._silence_seconds:
            self._is_reported = True
            self._progress(
                f"MLflow has taken no metrics for {late_seconds:.0f} s; "
                f"{self._queue.qsize() + 1} logs are kept and follow, {meanwhile}"
            )

    def _log_all(self) -> None:
        while (entry := self._queue.get()) is not None:
            self._late_since = time.monotonic()
            try:
                self._log(*entry)
            except Exception as error:
                self._progress(
                    f"MLflow takes no metrics ({error_text(error)}); those from step {entry[1]} on "
                    "are in the stage's history only"
                )
                self._late_since, self._is_given_up = None, True
                return
            if self._is_reported:
                late_seconds = time.monotonic() - self._late_since
                self._progress(f"MLflow takes metrics again after {late_seconds:.0f} s")
            self._late_since, self._is_reported = None, False

    def _log(self, values: Mapping[str, float], step: int) -> None:
        # What the policy reports comes too late: MLflow's client tries long by itself.
        self._retry.run(lambda: self._sink.metrics(values, step), "metrics", lambda _: None)
