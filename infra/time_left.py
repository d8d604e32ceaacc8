"""Lines that say how far a long work is and how long the rest of it will take."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")
_NUM_LINES = 10
"""Most lines about one part of a stage."""


def time_left(seconds: float, num_done: int, num_left: int) -> str:
    """Return how long the rest takes at the speed so far, such as "about 0:00:30 left".

    Args:
        seconds: that `num_done` pieces took.
    """
    return f"about {timedelta(seconds=round(seconds / max(num_done, 1) * num_left))} left"


def reported(
    results: Iterable[T], total: int, name: str, then: str, progress: Callable[[str], None]
) -> Iterator[T]:
    """Yield results as they come, and report how many there are after every tenth of them.

    Args:
        name: of the results.
        then: what follows in the stage, because the time that is left is that of this part alone.
    """
    began = time.monotonic()
    for done, result in enumerate(results, 1):
        yield result
        if done * _NUM_LINES // total > (done - 1) * _NUM_LINES // total:
            left = time_left(time.monotonic() - began, done, total - done)
            progress(f"{name}: {done} of {total}, {left}, then {then}")
