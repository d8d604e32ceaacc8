"""Messages of workers: left in the store by any rank, shown by the driver.

A worker's output goes to a file on its own machine. A notice reaches the engineer's log, and its
tags and files reach the stage's MLflow run, also where the worker died right after leaving it.
"""

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial

from infra.retry import RetryPolicy
from infra.storage.store import Store

_FOLDER = "scratch/notices"
_RETRY = RetryPolicy(seconds=2)
_GRACE_SECONDS = 10.0
"""For the last errands, when training ends."""


@dataclass(frozen=True)
class Notice:
    """One message of a worker."""

    text: str
    """The line in the log."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """For the MLflow run; names begin with `q2a.`."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text artifacts for the MLflow run, by name."""
    tables: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    """Rows to add to tables of the MLflow run, by name."""


Notify = Callable[[Notice], None]


@dataclass(frozen=True)
class Notices:
    """Leaves the notices of one worker for the driver."""

    directory: Store
    rank: int

    def __call__(self, notice: Notice) -> None:
        """Leave a notice. A store that does not take it must not end the run for that."""
        key = f"{_FOLDER}/{time.time_ns():020d}-{self.rank}.json"
        content = json.dumps(asdict(notice))
        try:
            _RETRY.run(lambda: self.directory.write_text(key, content), key, lambda _: None)
        except Exception as error:
            print(f"{notice.text} (not in the store: {error})", file=sys.stderr, flush=True)

    def progress(self, text: str) -> None:
        """Leave a notice without tags."""
        self(Notice(text))


class Errands:
    """Small writes beside the training, in order: a store that hangs delays nothing but them.

    They wait in a queue, so that none is made twice and the thread sleeps while there is none.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="errands", daemon=True)

    def __enter__(self) -> "Errands":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join(_GRACE_SECONDS)

    def __call__(self, errand: Callable[[], None]) -> None:
        """Run it soon; what an errand itself asks for is left undone, as it would never end."""
        if threading.current_thread() is not self._thread:
            self._waiting.put(errand)

    def _work(self) -> None:
        while errand := self._waiting.get():
            errand()


@contextmanager
def relaying(notices: Notices, errands: Errands) -> Iterator[None]:
    """Turn warnings of other modules, such as a store's failures, into notices of this worker."""
    loggers = [logging.getLogger(name) for name in ("infra", "tasks")]
    handler = _Relay(notices, errands)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _Relay(logging.Handler):
    def __init__(self, notices: Notices, errands: Errands) -> None:
        super().__init__(logging.WARNING)
        self._notices, self._errands = notices, errands

    def emit(self, record: logging.LogRecord) -> None:
        self._errands(partial(self._notices.progress, record.getMessage()))


def deliver_notices(directory: Store, notify: Notify) -> None:
    """Pass on what was left since the last call, the oldest first, each once."""
    for key in directory.list_keys(_FOLDER):
        data = directory.read_bytes(key)
        try:
            notice = Notice(**json.loads(data))
        except (ValueError, TypeError):  # damaged: it must not hide the later ones
            text = data.decode(errors="replace")
            notice = Notice(f"a worker's notice can't be read: {text:.200}")
        notify(notice)
        directory.delete(key)
