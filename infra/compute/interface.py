"""Where work runs: in this process (tests, debugging) or on Ray (one machine or a cluster).

Both offer the same two verbs. `map` spreads independent items; `fit` runs a training loop on a
group of workers that can talk through `torch.distributed`.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")


def end_process(error: BaseException) -> None:
    """The last resort of a worker whose loop does not come back."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(1)


@dataclass(frozen=True)
class Worker:
    """A member of a training group."""

    rank: int
    world_size: int
    device: str = "cpu"
    """As torch names it."""
    give_up: Callable[[BaseException], None] = field(default=end_process, compare=False, repr=False)
    """Ends this worker with an error from another thread than the loop's, which hangs."""


class Compute(Protocol):
    """Runs functions somewhere."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to every item; results come in the order of completion."""
        ...

    def map_on_devices(self, function: Callable[[str, T], U], items: Iterable[T]) -> Iterator[U]:
        """The same for work of the network: `function` is first given its device's torch name."""
        ...

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` once on every worker of a training group; the group restarts on failure."""
        ...
