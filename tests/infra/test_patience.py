"""Trying again: until success, until patience ends, and never where it is of no use."""

import pytest

from infra.patience import Patience

QUICK = Patience(seconds=0.2, first_pause=0.001, longest_pause=0.01)


class Flaky:
    """Fails some times, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "done"


def test_failures_are_tried_again_and_told_twice_not_at_every_attempt() -> None:
    action, said = Flaky(3, OSError("connection reset")), list[str]()
    assert QUICK.run(action, "upload of x", said.append) == "done"
    assert action.calls == 4
    assert said[0] == "upload of x failed (OSError: connection reset); trying again"
    assert said[1].startswith("upload of x succeeded after 3 failures in ")
    assert len(said) == 2


def test_success_is_not_worth_a_word() -> None:
    said: list[str] = []
    assert QUICK.run(Flaky(0, OSError()), "upload", said.append) == "done"
    assert said == []


def test_patience_ends_with_the_last_error_and_the_count() -> None:
    action = Flaky(10**9, OSError("503"))
    with pytest.raises(OSError, match="503") as caught:
        QUICK.run(action, "upload of x", lambda _: None)
    assert f"upload of x failed {action.calls} times" in caught.value.__notes__[0]
    assert action.calls > 2


@pytest.mark.parametrize("error", [TypeError("a bug"), PermissionError("no entry")])
def test_what_can_not_get_better_is_not_tried_again(error: Exception) -> None:
    action = Flaky(1, error)
    with pytest.raises(type(error)):
        QUICK.run(action, "upload", lambda _: None)
    assert action.calls == 1
