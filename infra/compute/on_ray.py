"""Ray: independent items in tasks, a training loop on a group that starts again when it fails."""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from infra.compute.interface import Worker
from infra.compute.resources import Resources
from infra.compute.training_group import (
    Failure,
    GroupFailedError,
    Room,
    describe_error,
    first_failure,
    in_short,
)

T = TypeVar("T")
U = TypeVar("U")

_GROUP_SECONDS = 7 * 24 * 3600
"""How long a worker waits for the others."""


class OnRay:
    """Ray, started for this process on first use or joined at an address."""

    def __init__(
        self,
        resources: Resources,
        address: str,
        scratch: Path,
        say: Callable[[str], None] = print,
        omp_num_threads: str = "1",
    ) -> None:
        self._resources = resources
        self._address = address
        self._scratch = scratch
        self._say = say
        self._omp_num_threads = omp_num_threads

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` in Ray tasks, one CPU each; the first exception ends the map.

        Items are taken as tasks end, so that any number of them may come.
        """
        return self._map(function, items, gpus=0)

    def map_on_devices(self, function: Callable[[str, T], U], items: Iterable[T]) -> Iterator[U]:
        """The same with the GPUs of one training worker each, where the profile has any."""
        gpus = self._resources.gpus_per_worker
        return self._map(partial(function, "cuda" if gpus else "cpu"), items, gpus)

    def _map(self, function: Callable[[T], U], items: Iterable[T], gpus: float) -> Iterator[U]:
        ray = self._ray()
        # Ray takes plain functions only, and stages map partial ones.
        remote = ray.remote(num_gpus=gpus, max_retries=self._resources.max_failures)(_call)
        shared = ray.put(function)
        waiting = iter(items)
        at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        pending = [remote.remote(shared, item) for item in islice(waiting, at_once)]
        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=1)
                pending += [remote.remote(shared, item) for item in islice(waiting, 1)]
                try:
                    yield ray.get(done[0])
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
        finally:
            for unfinished in pending:
                ray.cancel(unfinished)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` under Ray Train, again after failures, on as many workers as find room.

        Checkpoints are the loop's own, in the artifact's folder, so that the same files serve a
        restart, a new driver, another number of workers, and a run without Ray. Ray's own record
        of a run is not used: it resumes whatever has the same name, silently, so every attempt
        gets a fresh name. Its own restarts are not used either: they say nothing, never give up
        where resources are missing, and repeat errors that can't go away.

        Raises:
            NoRoomError: the resources did not become free within `placement_seconds`.
            GroupFailedError: an error that would come again, or one more than `max_failures`.
        """
        from ray.train import ControllerError, TrainingFailedError

        failures = 0
        while True:
            ray = self._ray()
            workers = self._wait_for_room(ray)
            began = time.monotonic()
            try:
                self._trainer(loop, workers).fit()
                return
            except TrainingFailedError as error:
                failure = _failure(error)
                failures += 1
                if failure.final or failures > self._resources.max_failures:
                    raise GroupFailedError(
                        f"{failure.cause}. It is failure {failures} of this training; "
                        f"resources.max_failures is {self._resources.max_failures}. "
                        "`q2a resume` continues from the last training state."
                    ) from error
                self._say(
                    f"training failed after {time.monotonic() - began:.0f} s: {failure.cause}; it "
                    f"starts again from its last state (failure {failures} of at most "
                    f"{self._resources.max_failures})"
                )
                if isinstance(error, ControllerError):
                    # Ray does not free what such a group holds before its driver leaves.
                    ray.shutdown()

    def _wait_for_room(self, ray: Any) -> int:
        room = Room(
            wanted=self._resources.num_workers,
            least=self._resources.min_workers or self._resources.num_workers,
            per_worker=self._per_worker,
            patience_seconds=self._resources.placement_seconds,
            say=self._say,
        )
        return room.wait(
            ray.available_resources, lambda: sum(node["Alive"] for node in ray.nodes())
        )

    @property
    def _per_worker(self) -> dict[str, float]:
        gpus = self._resources.gpus_per_worker
        return {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}

    def _trainer(self, loop: Callable[[Worker], None], workers: int) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        return TorchTrainer(
            _run_as_ray_worker,
            train_loop_config={"loop": loop},
            # Others wait at a barrier while the first worker exports; steps have their own watch.
            torch_config=TorchConfig(timeout_s=_GROUP_SECONDS),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=self._resources.gpus_per_worker > 0,
                resources_per_worker=self._per_worker,
            ),
            run_config=RunConfig(
                name=f"fit-{uuid.uuid4().hex[:12]}",
                storage_path=str((self._scratch / "ray_train").resolve()),
                failure_config=FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
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
                runtime_env={"env_vars": {"OMP_NUM_THREADS": self._omp_num_threads}},
            )
        return ray


def _failure(error: Exception) -> Failure:
    """The first cause in one of Ray Train's errors."""
    from ray.exceptions import RayActorError
    from ray.train import ControllerError, WorkerGroupError

    if isinstance(error, WorkerGroupError):
        # Ray wraps what a loop raises; the original has no public name.
        return first_failure(
            {rank: getattr(e, "_base_exc", e) for rank, e in error.worker_failures.items()}
        )
    cause = error.controller_failure if isinstance(error, ControllerError) else error
    what = "a worker is lost" if isinstance(cause, RayActorError) else "something failed"
    return Failure(f"{what} while the group started ({in_short(cause)})", str(cause), final=False)


def _call(function: Callable[[T], U], item: T) -> U:
    return function(item)


def _run_as_ray_worker(config: dict[str, Any]) -> None:
    """Run the loop in a thread of its own, so that a worker whose loop hangs can be given up."""
    from ray.train import get_context
    from ray.train.torch import get_device

    context = get_context()
    rank = context.get_world_rank()
    outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        device = get_device()
        try:
            if device.type == "cuda":
                # Ray has chosen it in its own thread, and FSDP2 asks for this thread's.
                import torch

                torch.cuda.set_device(device)
            config["loop"](Worker(rank, context.get_world_size(), str(device), outcome.put))
        except BaseException as error:
            outcome.put(error)
        else:
            outcome.put(None)

    threading.Thread(target=run, name="training loop", daemon=True).start()
    error = outcome.get()
    if error is not None:
        raise describe_error(rank, error)
