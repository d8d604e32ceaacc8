"""Micro-batches made ahead: the same ones, in order, over any interruption."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.compute import Loading, Worker
from infra.patient_store import PatientStore
from infra.store import Store
from tasks.audit import Consumed, Trail, audit, epochs_are_exact
from tasks.loader import LoadedStep, Loader
from tasks.mixture import plan_mixture
from tasks.split import Load, SplitError

POOL = range(60)
PLAN = plan_mixture({"asr": POOL}, {"asr": 1}, steps=60, examples_per_step=10, seed=3)
"""Ten epochs."""


@dataclass
class Numbers:
    """Examples of different lengths, whose batch is their numbers; slow where it is told."""

    damaged: frozenset[int] = frozenset()
    slow_steps: frozenset[int] = frozenset()
    made: list[int] = field(default_factory=list)

    def loads(self, examples: Sequence[int]) -> list[Load]:
        return [Load(20 + 7 * (i % 11), 10 + 7 * (i % 11)) for i in examples]

    def prepare(self, examples: Sequence[int], step: int, /) -> tuple[int, ...]:
        if step in self.slow_steps:
            time.sleep(0.01)
        self.made.append(step)
        if broken := self.damaged & set(examples):
            raise ValueError(f"example {min(broken)} of step {step} is damaged")
        return (step, *examples)


def load(source: Numbers, ahead: int = 2, n: int = 2) -> Loader[tuple[int, ...]]:
    return Loader(PLAN, source, Worker(0, 1), 300, Loading(threads=n, steps_ahead=ahead))


def all_of(loader: Loader[tuple[int, ...]]) -> list[LoadedStep[tuple[int, ...]]]:
    with loader:
        return [replace(ready, seconds_waited=0.0) for ready in loader]


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (1, 5), (3, 2), (4, 30)])
def test_threads_and_depth_change_nothing(threads: int, ahead: int) -> None:
    plain = all_of(load(Numbers(), ahead=0, n=1))
    slow = Numbers(slow_steps=frozenset({0, 5, 6}))
    assert all_of(load(slow, ahead=ahead, n=threads)) == plain
    assert [ready.step for ready in plain] == list(range(len(PLAN)))
    assert len(plain[0].micro_batches) > 1
    for ready in plain:
        assert ready.micro_batches == [(ready.step, *some) for some in ready.examples]


def test_no_more_steps_are_made_than_may_wait() -> None:
    source = Numbers()
    with load(source, ahead=3, n=2) as loader:
        next(iter(loader))
        loader._threads.shutdown()  # when all is made that may be
    assert sorted(set(source.made)) == [0, 1, 2, 3]


@dataclass(frozen=True)
class Interruption:
    """One attempt: how many workers it has, how far it comes, and how far back the next begins."""

    num_workers: int
    threads: int
    ahead: int
    steps: int
    undone: int


INTERRUPTIONS = st.lists(
    st.builds(
        Interruption,
        num_workers=st.integers(1, 5),
        threads=st.integers(1, 3),
        ahead=st.integers(0, 4),
        steps=st.integers(0, 6),
        undone=st.integers(0, 3),
    ),
    min_size=20,
    max_size=24,
)


@settings(max_examples=50)
@given(INTERRUPTIONS, st.randoms(use_true_random=False))
def test_no_example_is_lost_or_repeated_over_a_thousand_interruptions(
    interruptions: list[Interruption], draw: random.Random
) -> None:
    """50 runs of 20 to 24 interruptions each, with changing workers, threads and depth."""
    notes: list[Consumed] = []
    position = 0

    def attempt(workers: int, loading: Loading, steps: int) -> int:
        notes[:] = [note for note in notes if note.step < position]  # the others are undone
        ends = []
        for rank in range(workers):
            # The workers of a killed group end at different places of the step after the last.
            end = min(len(PLAN), position + steps + draw.randint(0, 1) * (steps < len(PLAN)))
            with Loader(PLAN, Numbers(), Worker(rank, workers), 300, loading, position) as loader:
                for ready in loader:
                    if ready.step >= end:
                        break
                    for some in ready.micro_batches:
                        notes.append(Consumed(some[0], some[1:]))
            ends.append(end)
        return min(ends)

    for cut in interruptions:
        reached = attempt(
            cut.num_workers, Loading(threads=cut.threads, steps_ahead=cut.ahead), cut.steps
        )
        position = max(position, reached - cut.undone)  # the last checkpoint
    attempt(2, Loading(), len(PLAN))
    found = audit(PLAN, notes)
    assert found.is_exact, str(found)
    assert epochs_are_exact(PLAN, [POOL])


def test_the_audit_names_what_is_lost_and_what_is_repeated() -> None:
    plan = np.array([[1, 2, 3], [4, 5, 6]])
    whole = [Consumed(0, (1, 2)), Consumed(0, (3,)), Consumed(1, (6, 5, 4))]
    assert audit(plan, whole).is_exact
    without = audit(plan, whole[::2])
    assert without.lost == {0: (3,)}
    assert "step 0 lost 3" in str(without)
    twice = audit(plan, [*whole, Consumed(1, (5,)), Consumed(7, (9,))])
    assert (twice.repeated, twice.lost) == ({1: (5,), 7: (9,)}, {})
    assert str(twice) == "2 examples differ from the plan: step 1 repeated 5; step 7 repeated 9"


def test_what_a_roll_back_left_out_is_not_missed() -> None:
    plan, admitted = np.array([[1, 2], [3, 2]]), np.array([[1, -1], [3, -1]])
    assert audit(plan, [Consumed(0, (1, 2)), Consumed(1, (3,))], admitted).is_exact
    assert audit(plan, [Consumed(0, (1, 2)), Consumed(1, (2,))], admitted).lost == {1: (3,)}


def test_a_trail_forgets_what_is_computed_again(tmp_path: Path) -> None:
    patient = PatientStore(Store(str(tmp_path)), print)
    plan = np.array([[1, 2], [3, 4], [5, 6]])

    def work(rank: int, first: int, shares: dict[int, list[int]], until: int) -> Trail:
        trail = Trail(patient, rank, first)
        for step, examples in shares.items():
            trail.note(step, [examples])
            if step + 1 == until:
                trail.write_down(until)
        return trail

    for rank in (0, 1):  # both are killed in step 2, after the state of step 2
        work(rank, 0, {step: [int(plan[step][rank])] for step in range(3)}, until=2)
    work(1, 2, {2: [6]}, until=3)  # and one of the next group after its last notes
    last = Trail(patient, 0, 2)
    last.forget_undone()
    last.note(2, [[5], [6]])
    last.write_down(3)
    assert audit(plan, last.of_all_workers()).is_exact
    again = Trail(patient, 0, 0)
    again.forget_undone()
    assert again.of_all_workers() == []


def test_an_epoch_that_repeats_an_example_is_not_exact() -> None:
    assert epochs_are_exact(np.array([[1, 2], [2, 1]]), [[1, 2]])
    assert not epochs_are_exact(np.array([[1, 1], [2, 2]]), [[1, 2]])


def test_an_error_comes_at_its_step_and_ends_the_threads() -> None:
    (step,) = np.flatnonzero((PLAN == 17).any(axis=1))[:1]
    with load(Numbers(damaged=frozenset({17})), ahead=4, n=3) as loader:
        steps = iter(loader)
        assert [next(steps).step for _ in range(step)] == list(range(step))
        with pytest.raises(ValueError, match=f"example 17 of step {step} is damaged"):
            next(steps)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_a_plan_with_fewer_examples_a_step_than_workers_is_refused() -> None:
    with pytest.raises(SplitError, match=r"10 examples for 11 workers\. Raise examples_per_step"):
        Loader(PLAN, Numbers(), Worker(0, 11), 300, Loading())


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_few_examples_that_are_left_of_a_step_are_computed_once_and_every_worker_joins(
    workers: int,
) -> None:
    plan = np.array([[1, 2, 3, 4, 5], [6, -1, -1, 8, -1], [-1, -1, 9, -1, -1]])
    notes = []
    for rank in range(workers):
        with Loader(plan, Numbers(), Worker(rank, workers), 300, Loading()) as loader:
            for ready in loader:
                assert len(ready.micro_batches) == 1, "every worker takes part in every step"
                notes += [Consumed(ready.step, tuple(some)) for some in ready.examples]
                (computed,), (mine,) = ready.micro_batches, ready.examples
                assert list(computed[1:]) == mine or not mine
                assert set(computed[1:]) <= set(plan[ready.step].tolist()) - {-1}
    assert audit(plan, notes, admitted=plan).is_exact


def test_leaving_early_ends_the_threads_and_what_was_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = threading.Event()

    class HeldUp(Numbers):
        """Makes the step that is under way at the end after what was not begun has been ended."""

        def prepare(self, examples: Sequence[int], step: int, /) -> tuple[int, ...]:
            assert step == 0 or left.wait(300)
            return super().prepare(examples, step)

    def shutdown(pool: ThreadPoolExecutor, wait: bool, cancel_futures: bool) -> None:
        plain(pool, wait=False, cancel_futures=cancel_futures)
        left.set()
        plain(pool, wait=wait)

    plain = ThreadPoolExecutor.shutdown
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shutdown)
    source = HeldUp()
    with load(source, ahead=50, n=1) as loader:
        next(iter(loader))
    assert set(source.made) <= {0, 1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_waiting_for_data_is_measured() -> None:
    slow = Numbers(slow_steps=frozenset(range(20)))
    with load(slow, ahead=0, n=1) as loader:
        waited = sum(ready.seconds_waited for ready in loader)
    assert waited >= 20 * 0.01  # a sleep lasts no less than it was asked for
