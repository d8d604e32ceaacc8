"""Micro-batches made ahead: the same ones, in order, over any interruption."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from infra.compute.interface import Worker
from infra.compute.resources import Loading
from tasks.training.guards.audit import Consumed, audit
from tasks.training.loader import LoadedStep, Loader
from tasks.training.split import SplitError, split
from tasks.training_data.mixture_plan import plan_mixture
from tests.support.example_numbers import Numbers

PLAN = plan_mixture({"asr": range(60)}, {"asr": 1}, steps=60, examples_per_step=10, seed=3)
"""Ten epochs."""


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


def test_every_planned_example_is_computed_number_0_too_from_the_first_step_on() -> None:
    plan = np.array([[3, 0, 1], [0, 2, -1], [5, 4, 0]])
    for first in range(4):
        with Loader(plan, Numbers(), Worker(0, 1), 300, Loading(), first) as loader:
            taken = {ready.step: sorted(chain(*ready.examples)) for ready in loader}
        expected = {0: [0, 1, 3], 1: [0, 2], 2: [0, 4, 5]}
        assert taken == {step: numbers for step, numbers in expected.items() if step >= first}


def test_workers_take_the_shares_of_a_step_in_turn() -> None:
    """The first share has the longest micro-batch: 9 is 83 tokens, the others are 20."""
    plan = np.array([[9, 0, 11]] * 4)
    shares = split([9, 0, 11], Numbers().loads([9, 0, 11]), 3, 300)
    for rank in range(3):
        with Loader(plan, Numbers(), Worker(rank, 3), 300, Loading()) as loader:
            taken = [ready.examples for ready in loader]
        assert taken == [shares[(rank + step) % 3] for step in range(4)]


def test_as_many_examples_as_workers_are_enough() -> None:
    with Loader(np.array([[1, 2]]), Numbers(), Worker(1, 2), 300, Loading()) as loader:
        (ready,) = loader
    assert sum(map(len, ready.examples)) == 1


def test_an_empty_step_is_handed_out_without_asking_the_source() -> None:
    source = Numbers()
    with Loader(np.array([[-1, -2]]), source, Worker(0, 1), 300, Loading()) as loader:
        assert [replace(r, seconds_waited=0.0) for r in loader] == [LoadedStep(0, [], [])]
    assert source.made == []
