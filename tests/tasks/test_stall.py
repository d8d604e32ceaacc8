"""A stalled worker says where its threads are, and ends."""

import threading
from pathlib import Path

import pytest

from infra.compute import InProcess, Worker
from infra.store import Store
from tasks.notices import Notice
from tasks.stall import StallError, StallGuard


def stand_still_in_a_planted_place() -> None:
    pause = threading.Event()
    while True:
        pause.wait(0.01)


def test_a_planted_stall_prints_its_stack_and_ends_the_run(tmp_path: Path) -> None:
    told: list[Notice] = []

    def loop(worker: Worker) -> None:
        with StallGuard(0.3, worker, Store(str(tmp_path)), told.append) as guard:
            guard.beat(41)
            guard.beat(42)
            stand_still_in_a_planted_place()

    with pytest.raises(StallError, match=r"worker 0 is in step 42 for more than 0\.3 s"):
        InProcess().fit(loop)
    (notice,) = told
    assert "stand_still_in_a_planted_place" in notice.text
    assert "in step 42" in notice.tags["q2a.stall.worker_0"]
    assert "test_stall.py" in notice.files["stacks/step-00000042-worker-0.txt"]


def test_one_of_two_workers_waits_for_the_others_stack_before_it_ends(tmp_path: Path) -> None:
    ended: list[BaseException] = []
    store = Store(str(tmp_path))
    other = tmp_path / "scratch/stacks/00000001/worker-1.txt"
    found = threading.Event()

    def give_up(error: BaseException) -> None:
        assert other.exists()
        ended.append(error)
        found.set()

    with StallGuard(0.2, Worker(0, 2, give_up=give_up), store, lambda _: None) as guard:
        guard.beat(1)
        threading.Timer(
            0.8, lambda: store.write_text("scratch/stacks/00000001/worker-1.txt", "x")
        ).start()
        assert found.wait(20)
    assert len(ended) == 1


def test_steps_in_time_and_a_loop_that_has_ended_are_no_stall(tmp_path: Path) -> None:
    told: list[Notice] = []
    pause = threading.Event()
    with StallGuard(
        2.0, Worker(0, 1, give_up=pytest.fail), Store(str(tmp_path)), told.append
    ) as guard:
        for step in range(10):
            guard.beat(step)
            pause.wait(0.01)
    pause.wait(0.1)
    assert told == []


@pytest.mark.parametrize("hangs", [False, True])
def test_a_store_that_is_away_or_hangs_does_not_keep_a_stalled_run_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr("tasks.stall._GRACE_SECONDS", 0.2)
    given_up, released = threading.Event(), threading.Event()

    def fail(*_: object) -> None:
        if hangs:
            released.wait()
        raise OSError("the store is away")

    monkeypatch.setattr(Store, "write_text", fail)
    worker = Worker(0, 1, give_up=lambda _: given_up.set())
    with StallGuard(0.1, worker, Store(str(tmp_path)), lambda _: None) as guard:
        guard.beat(1)
        assert given_up.wait(20)
    released.set()
