"""Trying again: what lies outside fails now and then, and a run of days must not end by it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class FinalError(Exception):
    """What went wrong is sure to come again. Base of errors that name their remedy."""


HOPELESS = (
    FinalError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError,
    PermissionError,
)  # fmt: skip
"""Another attempt would end alike: errors of the program or its input, doors that stay closed."""


@dataclass(frozen=True)
class Patience:
    """How long and how often to try."""

    seconds: float = 300.0
    """From the first failure until giving up; the attempt under way is not interrupted."""
    first_pause: float = 0.5
    """Seconds before the second attempt; each pause is twice the one before."""
    longest_pause: float = 15.0

    def run(self, action: Callable[[], T], what: str, say: Callable[[str], None]) -> T:
        """The result of `action`, after as many attempts as it takes.

        Args:
            what: names the action in messages, such as "upload of x to s3://bucket".
            say: is told of the first failure, and of the success after failures.

        Raises:
            Exception: that of the last attempt, with a note about the others; at once where trying
                again is of no use.
        """
        began, pause, failures = time.monotonic(), self.first_pause, 0
        while True:
            try:
                result = action()
            except HOPELESS:
                raise
            except Exception as error:
                failures += 1
                waited = time.monotonic() - began
                if waited >= self.seconds:
                    error.add_note(f"{what} failed {failures} times within {waited:.0f} s")
                    raise
                if failures == 1:
                    say(f"{what} failed ({type(error).__name__}: {error}); trying again")
                time.sleep(pause)
                pause = min(2 * pause, self.longest_pause)
            else:
                if failures:
                    seconds = time.monotonic() - began
                    say(f"{what} succeeded after {failures} failures in {seconds:.1f} s")
                return result
