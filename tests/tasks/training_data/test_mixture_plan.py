"""The plan of examples: shares, epochs and refusals."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.guards.audit import check_epochs
from tasks.training_data.mixture_plan import (
    Group,
    MixtureError,
    draw_evenly,
    group_shares,
    plan_groups,
    plan_mixture,
    task_shares,
)
from tests.support.example_numbers import drawing

POOLS = {"asr": range(100), "digits": range(100, 400), "sound": range(400, 407)}
TASK_OF: dict[Any, str] = {number: task for task, pool in POOLS.items() for number in pool}


@pytest.mark.parametrize(
    "weights", [{"asr": 1, "digits": 1, "sound": 1}, {"asr": 0.2, "digits": 4, "sound": 2}]
)
def test_tasks_are_drawn_in_proportion_to_their_weights(weights: dict[str, float]) -> None:
    plan = plan_mixture(POOLS, weights, 1_000, 20, seed=1)
    drawn = Counter(TASK_OF[number] for number in plan.ravel())
    for task, weight in weights.items():
        share = weight / sum(weights.values())
        sigma = np.sqrt(share * (1 - share) * plan.size)
        assert abs(drawn[task] - share * plan.size) < 3 * sigma


WEIGHTS = st.dictionaries(
    st.sampled_from([*POOLS, "another"]), st.floats(0.01, 100), min_size=1
).filter(lambda weights: weights.keys() & POOLS.keys())


@given(
    weights=WEIGHTS,
    steps=st.integers(0, 60),
    examples_per_step=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_no_example_is_repeated_before_all_of_its_task_were_seen(
    weights: dict[str, float], steps: int, examples_per_step: int, seed: int
) -> None:
    plan = plan_mixture(POOLS, weights, steps, examples_per_step, seed)
    assert plan.shape == (steps, examples_per_step)
    assert plan.dtype == np.int64
    assert {TASK_OF[number] for number in plan.ravel()} <= weights.keys()
    for pool in POOLS.values():
        drawn = [number for number in plan.ravel().tolist() if number in pool]
        for start in range(0, len(drawn), len(pool)):
            epoch = drawn[start : start + len(pool)]
            assert len(set(epoch)) == len(epoch)


def test_epochs_have_different_orders() -> None:
    first, second, third = plan_mixture({"sound": range(50)}, {"sound": 1}, 3, 50, seed=0).tolist()
    assert sorted(first) == sorted(second) == sorted(third) == list(range(50))
    assert first != second != third != first


def test_the_plan_is_a_pure_function_so_that_a_resumed_run_sees_the_same_examples() -> None:
    arguments = (POOLS, {"asr": 1, "digits": 3}, 40, 8)
    plan = plan_mixture(*arguments, seed=5)
    np.random.seed(1)  # the global generator plays no part
    assert np.array_equal(plan_mixture(*arguments, seed=5), plan)
    reordered = {"digits": 3.0, "asr": 1.0}
    assert np.array_equal(plan_mixture(POOLS, reordered, 40, 8, seed=5), plan)
    assert not np.array_equal(plan_mixture(*arguments, seed=6), plan)


def test_tasks_without_examples_or_weight_are_left_out_and_the_others_keep_their_ratio() -> None:
    pools = {**POOLS, "lid": []}
    plan = plan_mixture(
        pools, {"asr": 1, "digits": 1, "sound": 0, "lid": 5, "caption": 9}, 500, 8, 0
    )
    drawn = Counter(TASK_OF[number] for number in plan.ravel())
    assert set(drawn) == {"asr", "digits"}
    assert abs(drawn["asr"] - plan.size / 2) < 3 * np.sqrt(plan.size / 4)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_share_is_refused(weight: float) -> None:
    with pytest.raises(MixtureError, match=rf"'asr': {weight}.*use 0"):
        plan_mixture(POOLS, {"asr": weight, "digits": 1}, 1, 1, 0)


def test_weights_without_a_finite_sum_are_refused_and_ratios_however_large_are_not() -> None:
    message = (
        r"'asr': 1e\+308.*add up to inf; their sum has to be finite.*divide all by the largest"
    )
    with pytest.raises(MixtureError, match=message):
        plan_mixture(POOLS, {"asr": 1e308, "digits": 1e308}, 1, 1, 0)
    groups = {"asr": [Group(range(3), 1e308), Group(range(3, 6), 1e308)]}
    with pytest.raises(MixtureError, match=message.replace("asr", "group 0")):
        plan_groups(groups, {"asr": 1}, 1, 1, 0)
    assert set(plan_mixture(POOLS, {"asr": 1e-320, "digits": 1}, 9, 9, 0).ravel()) <= {
        *POOLS["digits"]
    }


@pytest.mark.parametrize("weights", [{}, {"caption": 1}, {"asr": 0}, {"lid": 1}])
def test_a_mixture_that_leaves_nothing_names_both_sides(weights: dict[str, float]) -> None:
    with pytest.raises(MixtureError, match=r"examples for \['asr', 'digits', 'sound'\]") as caught:
        plan_mixture({**POOLS, "lid": []}, weights, 1, 1, 0)
    assert str(sorted(weights)) in str(caught.value)


def test_all_examples_in_turn_are_one_pool_with_exact_epochs() -> None:
    data = draw_evenly(7, drawing(steps=5, examples_per_step=4, seed=3))
    assert data.plan.shape == (5, 4)
    assert sorted(data.plan.ravel()[:7]) == sorted(data.plan.ravel()[7:14]) == [*range(7)]
    check_epochs(data)
    assert data.shares.sum() == pytest.approx(1)
    with pytest.raises(MixtureError, match="nothing is left to train on"):
        draw_evenly(0, drawing(1, 1))


def test_a_plan_by_the_documented_generators_is_the_plan() -> None:
    """What a seed draws is part of every recipe's result: it never changes.

    Tasks by generator [seed, 0]; epochs of a task's only group by [seed, 1, task, epoch].
    """
    pools = {"b": range(3, 8), "a": range(3)}
    plan = plan_mixture(pools, {"b": 3, "a": 1}, 4, 5, seed=11)
    drawn = np.random.default_rng([11, 0]).choice(2, size=20, p=[0.25, 0.75])
    expected = np.empty(20, np.int64)
    for number, task in enumerate("ab"):
        epochs = [
            np.random.default_rng([11, 1, number, epoch]).permutation(np.array(pools[task]))
            for epoch in range(20)
        ]
        expected[drawn == number] = np.concatenate(epochs)[: (drawn == number).sum()]
    assert plan.tolist() == expected.reshape(4, 5).tolist()


def test_groups_take_turns_at_the_documented_times() -> None:
    """Group k of share q at (i + u) / q, u by [seed, 2, task]; epochs by [seed, 3, task, group]."""
    groups = {"a": [Group(range(2), 1), Group([], 5), Group(range(2, 5), 3), Group([9], 0)]}
    plan = plan_groups(groups, {"a": 2.0}, 6, 4, seed=5).ravel()
    phases = np.random.default_rng([5, 2, 0]).random(2)
    turns = sorted(
        ((i + phase) / share, group)
        for group, (phase, share) in enumerate(zip(phases, (0.25, 0.75), strict=True))
        for i in range(40)
    )[:24]
    pools = (np.arange(2), np.arange(2, 5))
    draws = [
        iter(
            np.concatenate(
                [np.random.default_rng([5, 3, 0, g, e]).permutation(pool) for e in range(20)]
            ).tolist()
        )
        for g, pool in enumerate(pools)
    ]
    assert plan.tolist() == [next(draws[group]) for _, group in turns]


def test_shares_are_weights_over_their_sum() -> None:
    tasks, shares = task_shares(["c", "a", "b"], {"a": 1, "b": 3, "c": 0, "d": 9})
    assert (tasks, shares.tolist()) == (["a", "b"], [0.25, 0.75])
    assert group_shares([Group([0], 3), Group([1], 1)]).tolist() == [0.75, 0.25]


def test_an_even_plan_has_one_pool_and_equal_shares() -> None:
    data = draw_evenly(4, drawing(3, 2, seed=9))
    assert data.pools.tolist() == [0, 0, 0, 0]
    assert data.pools.dtype == np.int32
    assert data.shares.tolist() == [0.25] * 4
    plan = plan_mixture({"all": range(4)}, {"all": 1}, 3, 2, seed=9)
    assert np.array_equal(data.plan, plan)


def test_the_seed_draws_the_order_inside_every_group() -> None:
    groups = {"asr": [Group(range(50), 1.0), Group(range(50, 100), 1.0)]}

    def orders(seed: int) -> tuple[list[int], list[int]]:
        drawn = plan_groups(groups, {"asr": 1}, 1, 80, seed).ravel().tolist()
        return [n for n in drawn if n < 50], [n - 50 for n in drawn if n >= 50]

    some, others = orders(seed=1), orders(seed=2)
    for one, other in zip(some, others, strict=True):
        assert one[:30] != other[:30]
    assert some[0][:30] != some[1][:30]  # nor do two groups share an order
