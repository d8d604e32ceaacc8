"""What workers have to say: left in the store by any rank, told by the driver.

A worker's output goes to a file on its own machine. A notice reaches the engineer's log, and its
tags and files reach the stage's MLflow run, also where the worker died right after leaving it.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from infra.patience import Patience
from infra.store import Store

_FOLDER = "scratch/notices"
_PATIENCE = Patience(seconds=2)


@dataclass(frozen=True)
class Notice:
    """One message."""

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
    """Leaves notices for the driver; one a worker."""

    directory: Store
    rank: int

    def __call__(self, notice: Notice) -> None:
        """Leave a notice. A store that does not take it must not end the run for that."""
        key = f"{_FOLDER}/{time.time_ns():020d}-{self.rank}.json"
        content = json.dumps(asdict(notice))
        try:
            _PATIENCE.run(lambda: self.directory.write_text(key, content), key, lambda _: None)
        except Exception as error:
            print(f"{notice.text} (not in the store: {error})", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Leave a notice without tags."""
        self(Notice(text))


@contextmanager
def relaying(notices: Notices) -> Iterator[None]:
    """Warnings of other modules, such as a store's failures, become notices of this worker."""
    loggers, handler = [logging.getLogger(name) for name in ("infra", "tasks")], _Relay(notices)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _Relay(logging.Handler):
    """A failure to leave a notice makes no notice: it would never end."""

    def __init__(self, notices: Notices) -> None:
        super().__init__(logging.WARNING)
        self._notices = notices
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(self._busy, "now", False):
            self._busy.now = True
            try:
                self._notices.say(record.getMessage())
            finally:
                self._busy.now = False


def tell_notices(directory: Store, tell: Notify) -> None:
    """Tell what was left since the last call, the oldest first; each is told once."""
    for key in directory.list_keys(_FOLDER):
        tell(Notice(**json.loads(directory.read_text(key))))
        directory.delete(key)
