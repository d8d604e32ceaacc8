"""Retries: what lies outside fails now and then, and a run of days must not end by it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class FinalError(Exception):
    """Base of errors that are sure to come again and that name their remedy."""


NOT_RETRYABLE = (
    FinalError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError,
    PermissionError,
)  # fmt: skip
"""Errors of the program, its input or its rights: another attempt would end alike."""


def is_retryable(error: Exception) -> bool:
    """Return whether another attempt can end otherwise."""
    return not isinstance(error, NOT_RETRYABLE)


def error_text(error: BaseException) -> str:
    """Return the type and the message of an error in one text."""
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class RetryPolicy:
    """How often, how long and after which errors an action is tried again.

    Retries end when both bounds, `attempts` and `seconds`, are reached.
    """

    seconds: float = 300.0
    """Least time from the first failure to the last attempt; no attempt is interrupted."""
    attempts: int = 1
    """Least number of attempts."""
    first_backoff_seconds: float = 0.5
    """Pause before the second attempt, less a random part of up to a half, so that many workers do
    not come back together; each pause is twice the one before."""
    max_backoff_seconds: float = 15.0
    """Longest pause."""
    is_retryable: Callable[[Exception], bool] = is_retryable
    """Which errors are worth another attempt."""
    error_text: Callable[[Exception], str] = error_text
    """How progress lines describe an error."""

    def run(self, action: Callable[[], T], name: str, progress: Callable[[str], None]) -> T:
        """Return the result of `action`, after as many attempts as it takes.

        Args:
            name: of the action in messages, such as "upload of x to s3://bucket".
            progress: gets a line for each failure that is followed by another attempt.

        Raises:
            Exception: that of the last attempt, with a note about the others; at once where it is
                not retryable.
        """
        failures, backoff, first_failure = 0, self.first_backoff_seconds, 0.0
        while True:
            try:
                return action()
            except Exception as error:
                if not self.is_retryable(error):
                    raise
                failures += 1
                first_failure = first_failure or time.monotonic()
                elapsed = time.monotonic() - first_failure
                if failures >= self.attempts and elapsed >= self.seconds:
                    error.add_note(f"{name} failed {failures} times within {elapsed:.0f} s")
                    raise
                pause = backoff * random.uniform(0.5, 1)
                bound = (
                    f"in {elapsed:.0f} of {self.seconds:g} s"
                    if self.seconds
                    else f"of {self.attempts}"
                )
                progress(
                    f"{name}: attempt {failures} {bound} failed ({self.error_text(error)}); "
                    f"again in {pause:.1f} s"
                )
            time.sleep(pause)
            backoff = min(2 * backoff, self.max_backoff_seconds)
