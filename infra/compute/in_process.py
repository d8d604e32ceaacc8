"""Runs a training in this process, with one worker: for tests, debugging and small machines."""

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from infra.compute.interface import T, U, Worker, end_process

_GRACE_SECONDS = 30.0
"""For a loop in Python to notice that it is given up, and for the log to tell why."""


class InProcess:
    """Everything in this process, one worker."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to one item after the other."""
        return map(function, items)

    def map_on_devices(self, function: Callable[[str, T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` on the CPU, to one item after the other."""
        return map(partial(function, "cpu"), items)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` as the only worker.

        Where the worker is given up, its error is raised in the loop. If that is stuck outside of
        Python and does not notice, the process ends.
        """
        abandoned: list[BaseException] = []
        ended, thread = threading.Event(), threading.get_ident()

        def give_up(error: BaseException) -> None:
            abandoned.append(error)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread), ctypes.py_object(_AbandonedError)
            )
            if not ended.wait(_GRACE_SECONDS):
                end_process(error)

        try:
            loop(Worker(0, 1, give_up=give_up))
        except _AbandonedError:
            raise abandoned[0] from None
        finally:
            ended.set()


class _AbandonedError(BaseException):
    """Raised in a loop that another thread has given up."""
