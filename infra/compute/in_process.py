"""Compute in this process, with one worker: for tests, debugging and small machines."""

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from infra.compute.interface import T, U, Worker, end_process

_GRACE_SECONDS = 30.0
"""Time for a loop in Python to notice that it is given up, and for the log to tell why."""


class InProcess:
    """Runs everything in this process, as one worker on the CPU."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to one item after the other."""
        return map(function, items)

    def map_on_devices(self, function: Callable[[str, T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to "cpu" and one item after the other."""
        return map(partial(function, "cpu"), items)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` as the only worker.

        The error with which a worker is given up is raised in the loop. Where the loop is stuck
        outside of Python and does not notice, the process ends. `give_up` waits for either.
        """
        errors: list[BaseException] = []
        ended, thread = threading.Event(), threading.get_ident()

        def give_up(error: BaseException) -> None:
            errors.append(error)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread), ctypes.py_object(_GivenUpError)
            )
            if not ended.wait(_GRACE_SECONDS):
                end_process(error)

        try:
            loop(Worker(0, 1, give_up=give_up))
        except _GivenUpError:
            raise errors[0] from None
        finally:
            ended.set()


class _GivenUpError(BaseException):
    """Raised in a loop that another thread has given up."""
