"""Trying again: what lies outside fails now and then, and a run of days must not end by it."""

import random
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


def may_pass(error: Exception) -> bool:
    """Whether another attempt can end otherwise."""
    return not isinstance(error, HOPELESS)


def in_words(error: Exception) -> str:
    """What an error says of itself."""
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Patience:
    """How often and how long to try, and what for: it ends when both bounds are reached."""

    seconds: float = 300.0
    """From the first failure on; the attempt under way is not interrupted."""
    first_pause: float = 0.5
    """Seconds before the second attempt, less a random part of up to a half, so that many workers
    do not come back together; each pause is twice the one before."""
    longest_pause: float = 15.0
    attempts: int = 1
    """At least."""
    may_pass: Callable[[Exception], bool] = may_pass
    """Which errors are worth another attempt."""
    in_words: Callable[[Exception], str] = in_words
    """How messages tell an error."""

    def run(self, action: Callable[[], T], what: str, say: Callable[[str], None]) -> T:
        """The result of `action`, after as many attempts as it takes.

        Args:
            what: names the action in messages, such as "upload of x to s3://bucket".
            say: is told of each failure that is followed by another attempt.

        Raises:
            Exception: that of the last attempt, with a note about the others; at once where trying
                again is of no use.
        """
        failures, pause, first_failure = 0, self.first_pause, 0.0
        while True:
            try:
                return action()
            except Exception as error:
                if not self.may_pass(error):
                    raise
                failures += 1
                first_failure = first_failure or time.monotonic()
                waited = time.monotonic() - first_failure
                if failures >= self.attempts and waited >= self.seconds:
                    error.add_note(f"{what} failed {failures} times within {waited:.0f} s")
                    raise
                shorter = pause * random.uniform(0.5, 1)
                bound = (
                    f"in {waited:.0f} of {self.seconds:g} s"
                    if self.seconds
                    else (f"of {self.attempts}")
                )
                say(
                    f"{what}: attempt {failures} {bound} failed ({self.in_words(error)}); "
                    f"again in {shorter:.1f} s"
                )
            time.sleep(shorter)
            pause = min(2 * pause, self.longest_pause)
