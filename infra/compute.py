"""Where work runs: in this process (tests, debugging) or on Ray (one machine or a cluster).

Both offer the same two verbs. `map` spreads independent items; `fit` runs a training loop on a
group of workers that can talk through `torch.distributed`.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.hardware import Hardware
from infra.policies import KeepCheckpoints

T = TypeVar("T")
U = TypeVar("U")
StrategyName = Literal["ddp", "fsdp2", "zero1", "zero2", "zero3", "zero3_offload"]

_GRACE_SECONDS = 30.0
"""For a loop in Python to notice that it is given up, and for the log to tell why."""


class Loading(BaseModel):
    """How far ahead micro-batches are made, beside the network that computes others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(1, ge=1)
    """Threads a worker that make steps, one each."""
    steps_ahead: int = Field(2, ge=0)
    """Steps that may wait in memory; 0: a step is made when the network asks for it."""


class Resources(Hardware):
    """What a run may use. Nothing here changes a number or a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal["ray", "process"] = "ray"
    num_cpus: int = Field(2, ge=1)
    """CPUs that Ray may use on this machine; a cluster brings its own."""
    num_workers: int = Field(2, ge=1)
    """Training workers."""
    min_workers: int | None = Field(None, ge=1)
    """A group starts with as few as these where no more find room; empty: `num_workers`."""
    placement_seconds: float = Field(120, gt=0)
    """How long a group waits for room for all its workers, after a lost node too."""
    gpus_per_worker: float = Field(0, ge=0)
    strategy: StrategyName = "ddp"
    """How several workers share the model: see `tasks/strategies`."""
    activation_checkpointing: bool = False
    """Compute each layer twice, to keep less of it in memory; the same numbers."""
    max_failures: int = Field(3, ge=0)
    """How often a training group starts again from its last checkpoint."""
    max_tokens_per_micro_batch: int = Field(32_768, ge=1)
    """Most tokens, audio's included, that a worker packs into one row: what its memory holds."""
    loading: Loading = Loading()
    checkpoint_every_steps: int = Field(100, ge=1)
    keep_checkpoints: KeepCheckpoints = KeepCheckpoints()
    log_every_steps: int = Field(10, ge=1)
    stall_seconds: float = Field(1800, gt=0)
    """A step that takes longer ends the run, with the stacks of all workers in the log."""
    early_evaluation_every_steps: int = Field(0, ge=0)
    """How often held-out loss and a few held-out answers are shown during training; 0: never."""

    @model_validator(mode="after")
    def _workers_fit(self) -> "Resources":
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers is {self.min_workers}, num_workers {self.num_workers}; "
                "the least can't be more than the wanted: lower min_workers"
            )
        return self


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


class InProcess:
    """Everything in this process, one worker."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to one item after the other."""
        return map(function, items)

    def map_on_devices(self, function: Callable[[str, T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` on the CPU, to one item after the other."""
        return map(partial(function, "cpu"), items)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` as the only worker.

        Where the worker is given up, its error is raised in the loop. If that is stuck outside of
        Python and does not notice, the process ends.
        """
        abandoned: list[BaseException] = []
        ended, thread = threading.Event(), threading.get_ident()

        def give_up(error: BaseException) -> None:
            abandoned.append(error)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread), ctypes.py_object(_AbandonedError)
            )
            if not ended.wait(_GRACE_SECONDS):
                end_process(error)

        try:
            loop(Worker(0, 1, give_up=give_up))
        except _AbandonedError:
            raise abandoned[0] from None
        finally:
            ended.set()


class _AbandonedError(BaseException):
    """Raised in a loop that another thread has given up."""


def open_compute(
    resources: Resources, address: str, scratch: Path, say: Callable[[str], None] = print
) -> Compute:
    """The backend that the profile names; `say` is told about what goes wrong and on."""
    if resources.backend == "process":
        return InProcess()
    from infra.on_ray import OnRay

    return OnRay(resources, address, scratch, say)
