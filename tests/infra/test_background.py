"""Periodic work is repeated until its context ends, whatever it raises."""

import threading
import time

import pytest

from infra.background import Periodic

_PERIOD = 0.001
_WAIT_SECONDS = 60.0


class Work:
    """Counts its calls; those whose number is in `failing` raise."""

    def __init__(self, *failing: int) -> None:
        self.calls, self._failing = 0, failing
        self._called = threading.Condition()

    def __call__(self) -> None:
        with self._called:
            self.calls += 1
            self._called.notify_all()
            if self.calls in self._failing:
                raise ConnectionError(f"call {self.calls}")

    def wait_for(self, calls: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: self.calls >= calls, _WAIT_SECONDS)


def test_work_is_repeated_in_a_daemon_thread_of_the_given_name() -> None:
    seen: set[tuple[str, bool]] = set()
    work = Work()

    def look() -> None:
        seen.add((threading.current_thread().name, threading.current_thread().daemon))
        work()

    with Periodic("looker", _PERIOD, look):
        work.wait_for(3)
    assert seen == {("looker", True)}


def test_no_call_comes_after_the_context_has_ended() -> None:
    work = Work()
    with Periodic("work", _PERIOD, work):
        work.wait_for(1)
    calls = work.calls
    time.sleep(20 * _PERIOD)
    assert work.calls == calls


def test_a_context_that_ends_within_the_first_period_calls_nothing_and_does_not_wait_for_it() -> (
    None
):
    work, began = Work(), time.monotonic()
    with Periodic("work", 3600, work):
        pass
    assert work.calls == 0
    assert time.monotonic() - began < _WAIT_SECONDS


def test_the_end_waits_for_a_call_that_is_under_way() -> None:
    entered, done = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        time.sleep(0.05)
        done.set()

    with Periodic("slow", _PERIOD, slow):
        assert entered.wait(_WAIT_SECONDS)
    assert done.is_set()


def test_of_failures_in_a_row_the_first_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(1, 2, 3, 5)
    with Periodic("asking for news", _PERIOD, work):
        work.wait_for(7)
    assert [record.getMessage() for record in caplog.records] == [
        "asking for news failed; it is tried again"
    ] * 2
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "call 1",
        "call 5",
    ]


def test_an_error_of_the_context_is_not_swallowed() -> None:
    with pytest.raises(RuntimeError, match="of the context"), Periodic("work", _PERIOD, Work()):
        raise RuntimeError("of the context")
