"""A training group in plain values: how many workers find room, and which failure came first."""

import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.retry import NOT_RETRYABLE, error_text

_COLLATERAL = re.compile(r"gloo|nccl|TCPStore|connection (closed|reset)", re.IGNORECASE)
"""In the message of a worker that another one has left alone."""
_MAX_REASON_CHARACTERS = 160


class NoRoomError(RuntimeError):
    """The resources of a training group did not become free in time."""


class GroupFailedError(RuntimeError):
    """A training group failed for good; the message is the cause of its first failure."""


class LostWorkError(RuntimeError):
    """A worker process was lost with its item more often than it is retried."""


class LoopError(Exception):
    """An error of one worker's loop, in a form that every process can unpickle."""

    def __init__(self, rank: int, failed_at: float, cause: str, details: str, final: bool) -> None:
        super().__init__(rank, failed_at, cause, details, final)
        self.rank = rank
        self.failed_at = failed_at
        """Seconds since 1970 by the worker's clock."""
        self.cause = cause
        """Type and message of the error."""
        self.details = details
        """Traceback of the error."""
        self.final = final
        """Whether another attempt would end alike."""

    @property
    def collateral(self) -> bool:
        """Whether it only follows from the loss of another worker."""
        return not self.final and bool(_COLLATERAL.search(self.cause))

    def __str__(self) -> str:
        return f"worker {self.rank}: {self.cause}"


def describe_error(rank: int, error: BaseException) -> LoopError:
    """Return the error of a worker's loop for the driver."""
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
    """Type and message of the first worker's error, or which worker is lost."""
    details: str
    """Traceback of that error, or all of Ray's message."""
    final: bool
    """Whether another attempt would end alike."""


def first_failure(failures: Mapping[int, BaseException]) -> Failure:
    """Return the cause of a group's failure; the errors of the other workers follow from it.

    A worker that vanished, such as a killed one, is the cause of whatever happened on the others.
    Else it is the earliest error that is more than a lost connection.

    Args:
        failures: the error of each worker that failed, by rank.
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
        return Failure(f"worker {rank} is lost ({first_sentence(error)})", str(error), final=False)
    earliest = min(errors.values(), key=lambda error: error.failed_at)
    return Failure(f"{earliest}; another worker is lost", earliest.details, final=False)


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error's message, at most 160 characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(". ")[0][:_MAX_REASON_CHARACTERS]


def workers_that_fit(free: Mapping[str, float], per_worker: Mapping[str, float]) -> int:
    """Return how many workers find room in the free resources."""
    return min(int(free.get(name, 0.0) / need) for name, need in per_worker.items() if need > 0)


@dataclass(frozen=True)
class Room:
    """Room for a training group: for all its workers or, after a while, for fewer."""

    num_workers: int
    """Workers that the group should have."""
    min_workers: int
    """Workers with which it starts where no more find room in time."""
    per_worker: Mapping[str, float]
    """Resources of each worker: amounts by Ray's names, such as CPU and GPU."""
    timeout_seconds: float
    """Seconds to wait for room for all workers."""
    progress: Callable[[str], None]
    silence_seconds: float = 5.0
    """Shortest wait that is reported."""
    poll_seconds: float = 0.5
    """Pause between two looks at what is free."""

    def wait(self, free: Callable[[], Mapping[str, float]], nodes: Callable[[], int]) -> int:
        """Wait for room and return the number of workers to start with.

        Args:
            free: returns the resources that are free now.
            nodes: returns how many nodes are alive now.

        Raises:
            NoRoomError: not even `min_workers` find room in time.
        """
        began, reported = time.monotonic(), False
        while True:
            resources = free()
            fitting = workers_that_fit(resources, self.per_worker)
            waited = time.monotonic() - began
            if fitting >= self.num_workers:
                return self.num_workers
            free_amounts = {name: resources.get(name, 0.0) for name in self.per_worker}
            state = (
                f"training asks for {self.num_workers} workers of {_amounts(self.per_worker)} "
                f"each; free are {_amounts(free_amounts)} on {nodes()} nodes"
            )
            if waited >= self.timeout_seconds:
                if fitting < self.min_workers:
                    raise NoRoomError(
                        f"{state}. It waited {waited:.0f} s for at least {self.min_workers}. Lower "
                        "resources.num_workers or min_workers, free the machines, or raise "
                        "resources.placement_seconds."
                    )
                self.progress(f"{state}; it starts with {fitting} of {self.num_workers} workers")
                return fitting
            if waited >= self.silence_seconds and not reported:
                reported = True
                self.progress(f"{state}; it waits up to {self.timeout_seconds:.0f} s")
            time.sleep(self.poll_seconds)


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
