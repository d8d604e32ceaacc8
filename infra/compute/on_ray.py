"""Compute on Ray: items run as tasks, a training loop on a group that restarts when it fails."""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from infra.background import call_in_thread
from infra.compute.interface import T, U, Worker
from infra.compute.ray_connection import NoRayError, connect
from infra.compute.resources import Resources
from infra.compute.training_group import (
    Failure,
    GroupFailedError,
    LostWorkError,
    Room,
    describe_error,
    first_failure,
    first_sentence,
)

_SHUTDOWN_SECONDS = 5.0
"""Longest time that a stop waits for Ray; what is left then ends with the driver."""
_GROUP_SECONDS = 7 * 24 * 3600
"""Seconds that a worker waits for the others in a collective operation."""


class OnRay:
    """Runs work on Ray, which is started for this process on first use, or joined."""

    def __init__(
        self,
        resources: Resources,
        address: str,
        scratch: Path,
        progress: Callable[[str], None] = print,
        omp_num_threads: str = "1",
    ) -> None:
        """`address`: of the cluster to join; empty: Ray is started on this machine."""
        self._resources = resources
        self._address = address
        self._scratch = scratch
        self._progress = progress
        self._omp_num_threads = omp_num_threads

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` in Ray tasks of one CPU each; the first exception ends the map.

        Items are taken as tasks end, so that there may be any number of them.
        """
        return self._map(function, items, gpus=0)

    def map_on_devices(self, function: Callable[[str, T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply `function` in tasks that have the GPUs of one training worker each, if any."""
        gpus = self._resources.gpus_per_worker
        return self._map(partial(function, "cuda" if gpus else "cpu"), items, gpus)

    def _map(self, function: Callable[[T], U], items: Iterable[T], gpus: float) -> Iterator[U]:
        ray = self._ray()
        # Ray takes plain functions only, and stages map partial ones.
        task = ray.remote(num_gpus=gpus, max_retries=self._resources.max_failures)(_call)
        shared = ray.put(function)
        waiting = iter(items)
        max_pending = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        pending = [task.remote(shared, item) for item in islice(waiting, max_pending)]
        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=1)
                pending += [task.remote(shared, item) for item in islice(waiting, 1)]
                try:
                    result = ray.get(done[0])
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError as error:
                    raise LostWorkError(
                        f"an item is lost after {self._resources.max_failures} retries: "
                        f"{_loss(error)}. `q2a resume` continues with what is done."
                    ) from error
                yield result
        finally:
            for unfinished in pending:
                ray.cancel(unfinished)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Run `loop` under Ray Train, again after failures, on as many workers as find room.

        Checkpoints are the loop's own, in the artifact's folder, so that the same files serve a
        restart, a new driver, another number of workers, and a run without Ray. Ray's own record
        of a run is not used: it resumes whatever has the same name, silently, so every attempt
        gets a fresh name. Its own restarts are not used either: they are silent, never give up
        where resources are missing, and repeat errors that can't go away.

        Raises:
            NoRoomError: the resources did not become free within `placement_seconds`.
            GroupFailedError: an error that would come again, or one more than `max_failures`.
        """
        from ray.exceptions import RayError
        from ray.train import TrainingFailedError, WorkerGroupError

        failures = 0
        while True:
            began = time.monotonic()
            try:
                workers = self._wait_for_room(self._ray())
                began = time.monotonic()
                # Elsewhere than in the main thread, whose SIGINT Ray Train would take.
                call_in_thread(self._trainer(loop, workers).fit)
                return
            except (TrainingFailedError, RayError, NoRayError) as error:
                failure = _failure(error)
                failures += 1
                if failure.final or failures > self._resources.max_failures:
                    raise GroupFailedError(
                        f"{failure.cause}. It is failure {failures} of this training; "
                        f"resources.max_failures is {self._resources.max_failures}. "
                        "`q2a resume` continues from the last training state."
                    ) from error
                self._progress(
                    f"training failed after {time.monotonic() - began:.0f} s: {failure.cause}; it "
                    f"starts again from its last state (failure {failures} of at most "
                    f"{self._resources.max_failures})"
                )
                if not isinstance(error, WorkerGroupError):
                    # Ray does not free what such a group holds before its driver leaves.
                    _shut_down()
            except BaseException as error:
                if not isinstance(error, Exception):
                    # The run is stopped: no worker writes when others have the artifact's lock.
                    call_in_thread(_shut_down, _SHUTDOWN_SECONDS)
                raise

    def _wait_for_room(self, ray: Any) -> int:
        room = Room(
            num_workers=self._resources.num_workers,
            min_workers=self._resources.min_workers or self._resources.num_workers,
            per_worker=self._per_worker,
            timeout_seconds=self._resources.placement_seconds,
            progress=self._progress,
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
        from ray.train.torch import TorchTrainer

        name = f"fit-{uuid.uuid4().hex[:12]}"
        return TorchTrainer(
            _run_as_ray_worker,
            train_loop_config={"loop": loop},
            torch_config=self._process_group(name),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=self._resources.gpus_per_worker > 0,
                resources_per_worker=self._per_worker,
            ),
            run_config=RunConfig(
                name=name,
                storage_path=str((self._scratch / "ray_train").resolve()),
                failure_config=FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
            ),
        )

    def _process_group(self, name: str) -> Any:
        """Return how the workers meet: on one machine nothing of it listens on the network."""
        from ray.train.torch import TorchConfig

        from infra.compute.process_group import OneMachine

        # Others wait at a barrier while the first worker exports; steps have a stall guard.
        if self._address:
            return TorchConfig(timeout_s=_GROUP_SECONDS)
        folder = (self._scratch / "rendezvous").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return OneMachine(timeout_s=_GROUP_SECONDS, rendezvous=str(folder / name))

    def _ray(self) -> Any:
        threads = {"OMP_NUM_THREADS": self._omp_num_threads}
        return connect(self._address, self._resources.num_cpus, threads)


def _shut_down() -> None:
    import ray

    ray.shutdown()


def _failure(error: Exception) -> Failure:
    """Return the first cause in an error of Ray or Ray Train."""
    from ray.train import ControllerError, WorkerGroupError

    if isinstance(error, WorkerGroupError):
        # Ray wraps what a loop raises; the original has no public name.
        return first_failure(
            {rank: getattr(e, "_base_exc", e) for rank, e in error.worker_failures.items()}
        )
    cause = error.controller_failure if isinstance(error, ControllerError) else error
    return Failure(f"{_loss(cause)} while the group started", str(cause), final=False)


def _loss(error: BaseException) -> str:
    """Say what Ray has lost, and the remedy where only the user has one."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

    why = first_sentence(error)
    if isinstance(error, OutOfMemoryError):
        return (
            f"Ray ended a worker because the machine is short of memory ({why}); lower "
            "resources.num_cpus, num_workers or max_tokens_per_micro_batch, or add memory"
        )
    lost = isinstance(error, RayActorError | WorkerCrashedError | NodeDiedError)
    return f"{'a worker is lost' if lost else 'something failed'} ({why})"


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
