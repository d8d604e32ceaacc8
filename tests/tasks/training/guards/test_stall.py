"""A stalled worker says where its threads are, and ends."""

import threading
from pathlib import Path

import pytest

from infra.compute.in_process import InProcess
from infra.compute.interface import Worker
from infra.storage.store import Store
from tasks.training.guards.stall import StallError, StallGuard
from tasks.training.messages.notices import Notice
from tests.support.clock import Clock


class Watched(Clock):
    """Lets the guard's thread look at the time before it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = threading.Event()

    def monotonic(self) -> float:
        if threading.current_thread().name == "stall guard":
            self.looked.set()
        return super().monotonic()

    def wait_for_a_look(self) -> None:
        self.looked.clear()
        assert self.looked.wait(300)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """The guards': in it a step takes as long as a test says."""
    found = Watched()
    monkeypatch.setattr("tasks.training.guards.stall.time", found)
    return found


def stand_still_in_a_planted_place(clock: Clock) -> None:
    pause = threading.Event()
    while True:
        clock.sleep(60)
        pause.wait(0.01)


def test_a_planted_stall_prints_its_stack_and_ends_the_run(tmp_path: Path, clock: Watched) -> None:
    told: list[Notice] = []

    def loop(worker: Worker) -> None:
        with StallGuard(0.3, worker, Store(str(tmp_path)), told.append) as guard:
            guard.beat(41)
            guard.beat(42)
            stand_still_in_a_planted_place(clock)

    with pytest.raises(StallError, match=r"worker 0 is in step 42 for more than 0\.3 s"):
        InProcess().fit(loop)
    (notice,) = told
    assert "stand_still_in_a_planted_place" in notice.text
    assert "in step 42" in notice.tags["q2a.stall.worker_0"]
    assert "test_stall.py" in notice.files["stacks/step-00000042-worker-0.txt"]


def test_one_of_two_workers_waits_for_the_others_stack_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[BaseException] = []
    store = Store(str(tmp_path))
    key = "scratch/stacks/00000001/worker-1.txt"
    found = threading.Event()

    class OtherWorker(Clock):
        """Tells where it is while the first one waits, at the third look."""

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now > 1060.25:
                store.write_text(key, "x")

    def give_up(error: BaseException) -> None:
        assert store.exists(key)
        ended.append(error)
        found.set()

    clock = OtherWorker()
    monkeypatch.setattr("tasks.training.guards.stall.time", clock)
    with StallGuard(0.2, Worker(0, 2, give_up=give_up), store, lambda _: None) as guard:
        guard.beat(1)
        clock.now += 60
        assert found.wait(300)
    assert len(ended) == 1


def test_steps_in_time_and_a_loop_that_has_ended_are_no_stall(
    tmp_path: Path, clock: Watched
) -> None:
    told, given_up = list[Notice](), list[BaseException]()
    worker = Worker(0, 1, give_up=given_up.append)
    with StallGuard(0.02, worker, Store(str(tmp_path)), told.append) as guard:
        for step in range(10):
            guard.beat(step)
            clock.sleep(0.019)
            clock.wait_for_a_look()
    guard._thread.join(300)
    assert not guard._thread.is_alive()
    assert (told, given_up) == ([], [])


@pytest.mark.parametrize("hangs", [False, True])
def test_a_store_that_is_away_or_hangs_does_not_keep_a_stalled_run_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr("tasks.training.guards.stall._GRACE_SECONDS", 0.2)
    given_up, released = threading.Event(), threading.Event()

    def fail(*_: object) -> None:
        if hangs:
            released.wait()
        raise OSError("the store is away")

    monkeypatch.setattr(Store, "write_text", fail)
    worker = Worker(0, 1, give_up=lambda _: given_up.set())
    with StallGuard(0.1, worker, Store(str(tmp_path)), lambda _: None) as guard:
        guard.beat(1)
        assert given_up.wait(300)
    released.set()
