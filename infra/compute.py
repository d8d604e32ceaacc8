"""Where work runs: in this process (tests, debugging) or on Ray (one machine or a cluster).

Both offer the same two verbs. `map` spreads independent items; `fit` runs a training loop on a
group of workers that can talk through `torch.distributed`.
"""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from infra.hardware import Hardware

T = TypeVar("T")
U = TypeVar("U")
StrategyName = Literal["ddp", "fsdp2", "zero1", "zero2", "zero3", "zero3_offload"]


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
    gpus_per_worker: float = Field(0, ge=0)
    strategy: StrategyName = "ddp"
    """How several workers share the model: see `tasks/strategies`."""
    activation_checkpointing: bool = False
    """Compute each layer twice, to keep less of it in memory; the same numbers."""
    max_failures: int = Field(3, ge=0)
    """How often Ray restarts a training group from its last checkpoint."""
    max_tokens_per_micro_batch: int = Field(32_768, ge=1)
    """Most tokens, audio's included, that a worker packs into one row: what its memory holds."""
    loading: Loading = Loading()
    checkpoint_every_steps: int = Field(100, ge=1)
    log_every_steps: int = Field(10, ge=1)


@dataclass(frozen=True)
class Worker:
    """A member of a training group."""

    rank: int
    world_size: int
    device: str = "cpu"
    """As torch names it."""


class Compute(Protocol):
    """Runs functions somewhere."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to every item; results come in the order of completion."""
        ...

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` once on every worker of a training group; the group restarts on failure."""
        ...


class InProcess:
    """Everything in this process, one worker."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` to one item after the other."""
        return map(function, items)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` as the only worker."""
        loop(Worker(rank=0, world_size=1))


class OnRay:
    """Ray, started for this process on first use or joined at an address."""

    def __init__(self, resources: Resources, address: str, scratch: Path) -> None:
        self._resources = resources
        self._address = address
        self._scratch = scratch

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` in Ray tasks, one CPU each; the first exception ends the map."""
        ray = self._ray()
        # Ray takes plain functions only, and stages map partial ones.
        remote = ray.remote(max_retries=self._resources.max_failures)(_call)
        shared = ray.put(function)
        pending = [remote.remote(shared, item) for item in items]
        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=1)
                try:
                    yield ray.get(done[0])
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
        finally:
            for unfinished in pending:
                ray.cancel(unfinished)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` under Ray Train.

        Checkpoints are the loop's own, in the artifact's folder, so that the same files serve a
        restart by Ray, a new driver and a run without Ray. Ray's own record of a run is not used:
        it resumes whatever has the same name, silently, so every fit gets a fresh name.
        """
        from ray.exceptions import RayActorError
        from ray.train import ControllerError

        for failures_left in reversed(range(self._resources.max_failures + 1)):
            ray = self._ray()
            try:
                self._trainer(loop).fit()
                return
            except ControllerError as error:
                # A worker that dies within the second in which its group starts counts as the
                # controller's failure, which Ray does not retry.
                if not isinstance(error.controller_failure, RayActorError) or not failures_left:
                    raise
            # Nor does Ray free what the failed group holds before its driver leaves.
            ray.shutdown()

    def _trainer(self, loop: Callable[[Worker], None]) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        gpus = self._resources.gpus_per_worker
        return TorchTrainer(
            _run_as_ray_worker,
            train_loop_config={"loop": loop},
            scaling_config=ScalingConfig(
                num_workers=self._resources.num_workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1},
            ),
            run_config=RunConfig(
                name=f"fit-{uuid.uuid4().hex[:12]}",
                storage_path=str((self._scratch / "ray_train").resolve()),
                failure_config=FailureConfig(max_failures=self._resources.max_failures),
            ),
        )

    def _ray(self) -> Any:
        """Ray, connected. Imported and started late: a run of hits needs neither."""
        import ray

        if not ray.is_initialized():
            ray.init(
                address=self._address or "local",
                num_cpus=None if self._address else self._resources.num_cpus,
                log_to_driver=False,
                logging_level="ERROR",
                # Ray Train asks the State API, which the dashboard serves.
                include_dashboard=None if self._address else True,
                runtime_env={"env_vars": {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}},
            )
        return ray


def open_compute(resources: Resources, address: str, scratch: Path) -> Compute:
    """The backend that the profile names."""
    if resources.backend == "process":
        return InProcess()
    return OnRay(resources, address, scratch)


def _call(function: Callable[[T], U], item: T) -> U:
    return function(item)


def _run_as_ray_worker(config: dict[str, Any]) -> None:
    from ray.train import get_context

    context = get_context()
    config["loop"](Worker(context.get_world_rank(), context.get_world_size()))
