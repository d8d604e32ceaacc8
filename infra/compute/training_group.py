"""A training group's room and failures, as plain values: what fits, and who failed first, why."""

import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from infra.retry import NOT_RETRYABLE, error_text

_COLLATERAL = re.compile(r"gloo|nccl|TCPStore|connection (closed|reset)", re.IGNORECASE)
"""What a worker says when another one has left it alone."""

_LONGEST_REASON = 160


class NoRoomError(RuntimeError):
    """The resources that a training group asks for did not become free in time."""


class GroupFailedError(RuntimeError):
    """A training group failed for good; the message is the first worker's cause."""


class LoopError(Exception):
    """The error of one worker's loop, in a form that every process can read."""

    def __init__(self, rank: int, failed_at: float, cause: str, details: str, final: bool) -> None:
        super().__init__(rank, failed_at, cause, details, final)
        self.rank = rank
        self.failed_at = failed_at
        """Seconds since 1970 by the worker's clock."""
        self.cause = cause
        self.details = details
        self.final = final
        """Whether another attempt would end alike."""

    @property
    def collateral(self) -> bool:
        """Whether it only says that another worker is gone."""
        return not self.final and bool(_COLLATERAL.search(self.cause))

    def __str__(self) -> str:
        return f"worker {self.rank}: {self.cause}"


def describe_error(rank: int, error: BaseException) -> LoopError:
    """The error of a loop for the driver."""
    return LoopError(
        rank,
        time.time(),
        error_text(error),
        "".join(traceback.format_exception(error)),
        isinstance(error, NOT_RETRYABLE),
    )


@dataclass(frozen=True)
class Failure:
    """Why a group failed."""

    cause: str
    details: str
    final: bool


def first_failure(failures: Mapping[int, BaseException]) -> Failure:
    """The cause of a group's failure, by rank: what the other workers say follows from it.

    A worker that vanished, such as a killed one, is the cause of whatever happened on the others.
    Else it is the earliest error that does not only tell of a lost connection.
    """
    errors = {rank: e for rank, e in failures.items() if isinstance(e, LoopError)}
    lost = {rank: e for rank, e in failures.items() if rank not in errors}
    real = sorted(
        (error for error in errors.values() if not error.collateral),
        key=lambda error: error.failed_at,
    )
    if real and (real[0].final or not lost):
        return Failure(str(real[0]), real[0].details, real[0].final)
    if lost:
        rank, error = min(lost.items())
        return Failure(f"worker {rank} is lost ({in_short(error)})", str(error), final=False)
    some = min(errors.values(), key=lambda error: error.failed_at)
    return Failure(f"{some}; another worker is lost", some.details, final=False)


def in_short(error: BaseException) -> str:
    """The first sentence of a long message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(". ")[0][:_LONGEST_REASON]


def workers_that_fit(free: Mapping[str, float], per_worker: Mapping[str, float]) -> int:
    """How many workers find room in the free resources."""
    return min(int(free.get(name, 0.0) / need) for name, need in per_worker.items() if need > 0)


@dataclass(frozen=True)
class Room:
    """Waits until a group fits, in full or, after a while, with fewer workers."""

    wanted: int
    least: int
    per_worker: Mapping[str, float]
    patience_seconds: float
    say: Callable[[str], None]
    silence_seconds: float = 5.0
    """Waits shorter than this are not worth a word."""
    look_every_seconds: float = 0.5

    def wait(self, free: Callable[[], Mapping[str, float]], nodes: Callable[[], int]) -> int:
        """The number of workers to start with.

        Args:
            free: the resources that are free now.
            nodes: how many nodes live now.

        Raises:
            NoRoomError: not even the least number fits within the patience.
        """
        began, told = time.monotonic(), False
        while True:
            found = free()
            fitting = workers_that_fit(found, self.per_worker)
            waited = time.monotonic() - began
            if fitting >= self.wanted:
                return self.wanted
            state = (
                f"training asks for {self.wanted} workers of {_amounts(self.per_worker)} each; "
                f"free are {_amounts(_only(found, self.per_worker))} on {nodes()} nodes"
            )
            if waited >= self.patience_seconds:
                if fitting < self.least:
                    raise NoRoomError(
                        f"{state}. It waited {waited:.0f} s for at least {self.least}. Lower "
                        "resources.num_workers or min_workers, free the machines, or raise "
                        "resources.placement_seconds."
                    )
                self.say(f"{state}; it starts with {fitting} of {self.wanted} workers")
                return fitting
            if waited >= self.silence_seconds and not told:
                told = True
                self.say(f"{state}; it waits up to {self.patience_seconds:.0f} s")
            time.sleep(self.look_every_seconds)


def _only(found: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    return {name: found.get(name, 0.0) for name in names}


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if name) or "none"
