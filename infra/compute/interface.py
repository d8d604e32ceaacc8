"""The interface of compute: two verbs for independent items, one for a training loop.

`map` and `map_on_devices` spread items; `fit` runs a training loop on a group of workers that talk
through `torch.distributed`. `InProcess` (tests, debugging, small machines) and `OnRay` (one machine
or a cluster) offer them alike.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from infra.retry import error_text

T = TypeVar("T")
U = TypeVar("U")


def end_process(error: BaseException) -> None:
    """End this process with an error, as the last resort against a loop that does not return."""
    print(error_text(error), file=sys.stderr, flush=True)
    os._exit(1)


@dataclass(frozen=True)
class Worker:
    """A member of a training group."""

    rank: int
    """Number of the worker in its group, from 0."""
    world_size: int
    """Number of workers in the group."""
    device: str = "cpu"
    """Name of the worker's device in torch."""
    give_up: Callable[[BaseException], None] = field(default=end_process, compare=False, repr=False)
    """Ends a loop that hangs with an error; called from another thread than the loop's."""


class Compute(Protocol):
    """Runs functions on one or several machines."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to every item; results come in the order of completion."""
        ...

    def map_on_devices(self, function: Callable[[str, T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to the name of its device in torch and an item, for every item."""
        ...

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` once on every worker of a training group; the group restarts on failure."""
        ...
