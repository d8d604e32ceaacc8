"""Compute: the same three verbs in this process and on Ray."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ray import exceptions as ray_exceptions
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    AuthenticationError,
    GetTimeoutError,
    NodeDiedError,
    OutOfMemoryError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.train import ControllerError
from torch import distributed

from data_contracts.errors import UsageError
from infra.compute.in_process import InProcess
from infra.compute.interface import Worker
from infra.compute.on_ray import OnRay
from infra.compute.open import open_compute
from infra.compute.resources import Resources
from infra.compute.training_group import GroupFailedError, LostWorkError, NoRoomError
from tests.support.clock import Clock
from tests.support.drill_tools import wait_until


def times(factor: int, item: int) -> int:
    if item < 0:
        raise ValueError(f"{item} is negative")
    return factor * item


def test_the_profile_names_the_backend(tmp_path: Path) -> None:
    assert isinstance(open_compute(Resources(backend="process"), "", tmp_path), InProcess)
    assert isinstance(open_compute(Resources(backend="ray"), "", tmp_path), OnRay)


def test_in_process_maps_lazily_in_order() -> None:
    seen: list[int] = []

    def double(item: int) -> int:
        seen.append(item)
        return item * 2

    results = InProcess().map(double, [1, 2, 3])
    assert seen == []
    assert list(results) == [2, 4, 6]
    assert seen == [1, 2, 3]


def test_in_process_fits_as_the_only_worker() -> None:
    workers: list[Worker] = []
    InProcess().fit(workers.append)
    assert workers == [Worker(rank=0, world_size=1)]


LINES: list[str] = []
"""Progress lines of the Ray backend."""


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    import ray

    # Workers can't import a test module: its functions travel whole.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    scratch = tmp_path_factory.mktemp("ray")
    yield OnRay(Resources(num_cpus=2, num_workers=2, max_failures=2), "", scratch, LINES.append)
    ray.shutdown()


@pytest.mark.drill
def test_ray_maps_partial_functions(on_ray: OnRay) -> None:
    assert sorted(on_ray.map(partial(times, 3), range(5))) == [0, 3, 6, 9, 12]


@pytest.mark.drill
def test_an_error_in_a_ray_task_is_the_original_error(on_ray: OnRay) -> None:
    with pytest.raises(ValueError, match=r"^-1 is negative$") as caught:
        list(on_ray.map(partial(times, 3), [-1]))
    assert caught.type is ValueError


def sum_of_ranks(folder: Path, worker: Worker) -> None:
    total = torch.tensor([float(worker.rank + 1)])
    distributed.all_reduce(total)
    path = folder / f"rank-{worker.rank}.json"
    path.write_text(json.dumps([worker.world_size, total.item()]))


@pytest.mark.drill
def test_two_ray_workers_talk_through_torch_distributed(on_ray: OnRay, tmp_path: Path) -> None:
    on_ray.fit(partial(sum_of_ranks, tmp_path))
    results = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert results == {"rank-0.json": [2, 3.0], "rank-1.json": [2, 3.0]}


def die_once(folder: Path, worker: Worker) -> None:
    if worker.rank == 1 and not (folder / "died").exists():
        (folder / "died").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    sum_of_ranks(folder, worker)


@pytest.mark.drill
def test_a_killed_ray_worker_restarts_the_group_and_the_log_says_so(
    on_ray: OnRay, tmp_path: Path
) -> None:
    on_ray.fit(partial(die_once, tmp_path))
    assert (tmp_path / "died").exists()
    assert json.loads((tmp_path / "rank-0.json").read_text()) == [2, 3.0]
    assert "starts again from its last state (failure 1 of at most 2)" in LINES[-1]
    assert "is lost" in LINES[-1]


class DyingTrainer:
    """Stands for a training group that fails while it starts."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error = error
        self.failures_left = failures

    def fit(self) -> None:
        if self.failures_left:
            self.failures_left -= 1
            raise self.error


IDLE = SimpleNamespace(
    available_resources=lambda: {"CPU": 2.0}, nodes=lambda: [{"Alive": True}], shutdown=list
)
"""Stands for Ray with two free CPUs."""
SHORT_OF_MEMORY = OutOfMemoryError("Task was killed due to the node running low on memory.\nMore")


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry whenever Ray is left."""
    left: list[int] = []
    monkeypatch.setattr("ray.shutdown", lambda: left.append(1))
    return left


@pytest.mark.parametrize(
    "error",
    [
        ControllerError(ActorDiedError()),
        ControllerError(SHORT_OF_MEMORY),
        # Out of `ray.get` in `fit`, where the controller itself is lost.
        SHORT_OF_MEMORY,
        ActorDiedError(),
        ActorUnavailableError("the actor is temporarily unavailable", None),
        NodeDiedError("the node is dead"),
        WorkerCrashedError(),
        RaySystemError("something"),
        GetTimeoutError("timed out"),
        RayTaskError("run", "Traceback ...", RuntimeError("broken")),
        RayTaskError("run", "Traceback ...", RuntimeError("broken")).as_instanceof_cause(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(("failures", "survives"), [(2, True), (3, False)])
def test_whatever_is_lost_while_a_group_starts_costs_one_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left: list[int],
    error: Exception,
    failures: int,
    survives: bool,
) -> None:
    trainer = DyingTrainer(error, failures)
    monkeypatch.setattr(OnRay, "_ray", lambda _: IDLE)
    monkeypatch.setattr(OnRay, "_trainer", lambda *_: trainer)
    lines: list[str] = []
    compute = OnRay(Resources(max_failures=2), "", tmp_path, lines.append)
    expected = nullcontext() if survives else pytest.raises(GroupFailedError, match="failure 3")
    with expected:
        compute.fit(print)
    assert trainer.failures_left == 0
    assert len(lines) == 2
    assert len(left) == 2, "what the group holds is not freed"


def test_a_group_that_memory_ends_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    monkeypatch.setattr(OnRay, "_ray", lambda _: IDLE)
    monkeypatch.setattr(OnRay, "_trainer", lambda *_: DyingTrainer(SHORT_OF_MEMORY, 1))
    compute = OnRay(Resources(max_failures=0), "", tmp_path)
    with pytest.raises(GroupFailedError, match=r"short of memory \(Task was .*num_workers"):
        compute.fit(print)


def test_a_ray_that_does_not_start_costs_a_failure_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    answers = iter([ConnectionError("no answer"), TimeoutError("no answer"), None])

    def init(**_: object) -> None:
        if (error := next(answers)) is not None:
            raise error

    for name, stands_for in {
        "is_initialized": lambda: False,
        "init": init,
        "available_resources": IDLE.available_resources,
    }.items():
        monkeypatch.setattr(f"ray.{name}", stands_for)
    trainer = DyingTrainer(SHORT_OF_MEMORY, 0)
    monkeypatch.setattr(OnRay, "_trainer", lambda *_: trainer)
    lines: list[str] = []
    OnRay(Resources(max_failures=2), "10.0.0.1:6379", tmp_path, lines.append).fit(print)
    assert len(lines) == 2
    assert "the Ray cluster at 10.0.0.1:6379 does not answer" in lines[0]


@pytest.mark.parametrize(
    ("address", "message"), [("10.0.0.1:6379", "RAY_AUTH_TOKEN"), ("", "this machine")]
)
def test_a_refused_token_is_an_error_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    def init(**_: object) -> None:
        raise AuthenticationError("invalid token")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(UsageError, match=message):
        OnRay(Resources(), address, tmp_path).fit(print)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (SHORT_OF_MEMORY, "short of memory .* lower resources.num_cpus"),
        (WorkerCrashedError(), "a worker is lost"),
        (NodeDiedError("the node is dead"), "a worker is lost"),
        (RaySystemError("something"), "something failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_item_that_is_lost_with_its_worker_ends_the_map_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    def lose(_: object) -> None:
        raise error

    cancelled: list[object] = []
    ray = SimpleNamespace(
        remote=lambda **_: lambda _: SimpleNamespace(remote=lambda _, item: item),
        put=lambda function: function,
        cluster_resources=lambda: {"CPU": 1.0},
        wait=lambda pending, **_: (pending[:1], pending[1:]),
        get=lose,
        cancel=cancelled.append,
        exceptions=ray_exceptions,
    )
    monkeypatch.setattr(OnRay, "_ray", lambda _: ray)
    with pytest.raises(LostWorkError, match=remedy):
        list(OnRay(Resources(), "", tmp_path).map(str, [1, 2]))
    assert cancelled == [2]


def raise_on_rank_0(worker: Worker) -> None:
    """The other worker is in a collective call that would never return."""
    if worker.rank == 0:
        raise FloatingPointError("the loss of step 3 is nan")
    distributed.barrier()


@pytest.mark.drill
def test_a_rank_that_raises_ends_all_ranks_at_once_with_its_cause(on_ray: OnRay) -> None:
    before = len(LINES)
    cause = r"^worker 0: FloatingPointError: the loss of step 3 is nan\. It is failure 1 of"
    with pytest.raises(GroupFailedError, match=cause):
        on_ray.fit(raise_on_rank_0)
    assert len(LINES) == before, "an error that is sure to come again was tried again"


def stall_on_rank_1(folder: Path, worker: Worker) -> None:
    """A stand-still outside of Python's reach, and what a watching thread makes of it."""
    if worker.rank == 1:
        watcher = threading.Timer(1.0, worker.give_up, [ValueError("no step for a second")])
        watcher.start()
    distributed.barrier() if worker.rank == 0 else threading.Event().wait()


@pytest.mark.drill
def test_a_stalled_rank_can_be_given_up_from_a_watching_thread(
    on_ray: OnRay, tmp_path: Path
) -> None:
    with pytest.raises(GroupFailedError, match="worker 1: ValueError: no step for a second"):
        on_ray.fit(partial(stall_on_rank_1, tmp_path))


@pytest.mark.drill
def test_a_group_without_room_says_what_it_asks_for_and_what_is_free_and_gives_up(
    on_ray: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    list(on_ray.map(partial(times, 1), [1]))  # Ray is up, with two CPUs
    # A group or task that has just ended may hold its CPUs for a while: seconds, on a busy machine.
    wait_until(lambda: ray.available_resources().get("CPU") == 2, 300, "all CPUs are free")
    monkeypatch.setattr("infra.compute.training_group.time", Clock())
    lines: list[str] = []
    wishful = OnRay(Resources(num_workers=5, placement_seconds=6), "", tmp_path, lines.append)
    with pytest.raises(NoRoomError, match=r"5 workers of 1 CPU each; free are 2 CPU on 1 nodes"):
        wishful.fit(print)
    assert "it waits up to 6 s" in lines[0]
