"""Compute: the same three verbs in this process and on Ray."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed

from infra.compute.in_process import InProcess
from infra.compute.interface import Worker
from infra.compute.on_ray import OnRay
from infra.compute.open import open_compute
from infra.compute.resources import Resources
from infra.compute.training_group import GroupFailedError, NoRoomError
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
