"""Retries end with success or at their bounds, and errors that would come again have none."""

import re

import pytest

from infra.retry import RetryPolicy
from tests.support.clock import Clock

QUICK = RetryPolicy(seconds=0.2, first_backoff_seconds=0.001, max_backoff_seconds=0.01)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("infra.retry.time", clock)
    return clock


class Flaky:
    """Fails some times, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "done"


def test_failures_are_tried_again_and_reported() -> None:
    action, lines = Flaky(3, OSError("connection reset")), list[str]()
    assert QUICK.run(action, "upload of x", lines.append) == "done"
    assert action.calls == 4
    failure = (
        r"upload of x: attempt %d in 0 of 0\.2 s failed \(OSError: connection reset\); again in"
    )
    assert all(re.match(failure % number, line) for number, line in enumerate(lines, 1)), lines
    assert len(lines) == 3


def test_success_is_not_worth_a_line() -> None:
    lines: list[str] = []
    assert QUICK.run(Flaky(0, OSError()), "upload", lines.append) == "done"
    assert lines == []


def test_retries_end_with_the_last_error_and_the_count(clock: Clock) -> None:
    action, began = Flaky(10**9, OSError("503")), clock.now
    with pytest.raises(OSError, match="503") as caught:
        QUICK.run(action, "upload of x", lambda _: None)
    assert f"upload of x failed {action.calls} times" in caught.value.__notes__[0]
    assert action.calls > 20
    assert 0.2 <= clock.now - began < 0.22


def test_the_time_counts_from_the_first_failure_however_long_the_attempt_took(
    clock: Clock,
) -> None:
    def slow() -> str:
        clock.sleep(3600)
        return action()

    action = Flaky(1, OSError("connection reset"))
    assert QUICK.run(slow, "upload", lambda _: None) == "done"


def test_attempts_bound_what_no_time_bounds_and_backoffs_grow() -> None:
    action, lines = Flaky(10**9, OSError("503")), list[str]()
    policy = RetryPolicy(
        seconds=0, attempts=4, first_backoff_seconds=0.001, max_backoff_seconds=0.002
    )
    with pytest.raises(OSError, match="503"):
        policy.run(action, "reading x", lines.append)
    assert action.calls == 4
    assert [line.partition(" failed")[0] for line in lines] == [
        f"reading x: attempt {number} of 4" for number in (1, 2, 3)
    ]


def test_what_is_worth_another_attempt_is_the_callers_to_say() -> None:
    action = Flaky(1, TypeError("a library's way to say busy"))
    policy = RetryPolicy(
        first_backoff_seconds=0.001, is_retryable=lambda error: "busy" in str(error)
    )
    assert policy.run(action, "asking", lambda _: None) == "done"


@pytest.mark.parametrize("error", [TypeError("a bug"), PermissionError("no entry")])
def test_what_can_not_get_better_is_not_tried_again(error: Exception) -> None:
    action = Flaky(1, error)
    with pytest.raises(type(error)):
        QUICK.run(action, "upload", lambda _: None)
    assert action.calls == 1
