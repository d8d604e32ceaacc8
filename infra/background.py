"""Work in daemon threads: periodic, beside what the process is there for, or a single call."""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)


class Periodic:
    """Calls `work` every `every_seconds` in a daemon thread while its context is open.

    The first call comes after the first period. Leaving the context waits for a call that is under
    way, at most `join_seconds`, so `work` must not itself wait for the context's end. An exception
    of `work` does not end the thread: of several in a row, the first is logged with its traceback.
    """

    def __init__(
        self,
        name: str,
        every_seconds: float,
        work: Callable[[], None],
        join_seconds: float | None = None,
    ) -> None:
        """`name`: the thread's, in messages and in stack dumps; `join_seconds`: None has no end."""
        self._every_seconds = every_seconds
        self._work = work
        self._join_seconds = join_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def __enter__(self) -> "Periodic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(self._join_seconds)

    def _repeat(self) -> None:
        failed = False
        while not self._ended.wait(self._every_seconds):
            try:
                self._work()
                failed = False
            except Exception:
                if not failed:
                    _log.exception("%s failed; it is tried again", self._thread.name)
                failed = True


def call_in_thread(function: Callable[[], Any], seconds: float | None = None) -> None:
    """Call a function in a thread of its own and wait for its end; a signal ends the wait.

    Args:
        seconds: after which nobody waits any longer; the thread then goes on alone.

    Raises:
        BaseException: whatever the function raises.
    """
    outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def call() -> None:
        try:
            function()
        except BaseException as error:
            outcome.put(error)
        else:
            outcome.put(None)

    threading.Thread(target=call, name="call", daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty:
        return
    if error is not None:
        raise error
