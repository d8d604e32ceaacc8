"""Signals that ask the process to end: it cleans up, and ends within a bound whatever happens."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLEAN_UP_SECONDS = 10.0
"""Longest time between the signal and the end of the process."""
_ONE_STOP_SECONDS = 1.0
"""Signals within this time are one: `timeout` and a closed terminal send theirs twice."""
_NO_SIGNAL = 0


class StoppedError(KeyboardInterrupt):
    """A signal asks this process to end; libraries treat it like Ctrl-C."""


class StopSignals:
    """Turns the first signal into a `StoppedError` of the main thread while its context is open.

    A second signal ends the process at once, and so does a clean-up of over ten seconds. A thread
    sees to that, which gets the signals from the interpreter itself: so a main thread that hangs in
    C, or a library that has put a handler of its own in place, changes nothing.
    """

    def __init__(self) -> None:
        self.error = StoppedError()
        """What is raised, with the notes that were added to it on its way."""
        self._first: signal.Signals | None = None
        self._raised = False
        self._up_to_date = threading.Event()

    def __enter__(self) -> "StopSignals":
        self._handlers = {number: signal.signal(number, self._raise) for number in STOP_SIGNALS}
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="stop signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Put things back, unless the process is about to end: what ends it is bounded too."""
        if self.received is None:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._write_end)

    @property
    def received(self) -> signal.Signals | None:
        """The first signal that came, whichever handler it went to."""
        # The thread reads this byte after those of all signals before.
        self._up_to_date.clear()
        os.write(self._write_end, bytes([_NO_SIGNAL]))
        self._up_to_date.wait()
        return self._first

    @property
    def exit_code(self) -> int:
        """Exit code that shells use for a process that the signal ended."""
        return 128 + (self.received or signal.SIGINT)

    def _raise(self, *_: object) -> None:
        if not self._raised:
            self._raised = True
            raise self.error

    def _watch(self) -> None:
        """Wait for signals; after the first one, for a second one or the end of the bound."""
        first: float | None = None
        while True:
            left = None if first is None else first + CLEAN_UP_SECONDS - time.monotonic()
            if left is not None and left <= 0:
                self._end_now(f"its clean-up took over {CLEAN_UP_SECONDS:.0f} s")
            if not select.select([self._read_end], [], [], left)[0]:
                continue
            number = os.read(self._read_end, 1)
            if not number:
                os.close(self._read_end)
                return
            if number[0] == _NO_SIGNAL:
                self._up_to_date.set()
            if number[0] not in STOP_SIGNALS:
                continue
            if first is None:
                first = time.monotonic()
                self._first = signal.Signals(number[0])
            elif time.monotonic() > first + _ONE_STOP_SECONDS:
                self._end_now("a second signal came")

    def _end_now(self, reason: str) -> None:
        name = self._first.name if self._first else ""
        text = f"stopped by {name} at once: {reason}; `q2a resume RUN` continues\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
        os._exit(128 + (self._first or 0))


@contextmanager
def kept_handlers() -> Iterator[Callable[[], None]]:
    """Put the handlers of signals back that a library replaces; yields what does so earlier.

    Only the main thread can have handlers; in another one nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()
