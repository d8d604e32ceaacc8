"""A step's examples over workers and micro-batches: nothing lost, nothing too long, all alike."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.split import Load, SplitError, split

LOADS = st.tuples(st.integers(1, 100), st.integers(0, 750)).map(
    lambda pair: Load(tokens=sum(pair), audio_tokens=pair[1])
)
STEPS = st.lists(LOADS, min_size=1, max_size=40)
LONGEST = 850
WORKERS = st.integers(1, 6)
BUDGETS = st.integers(2 * LONGEST, 20 * LONGEST)


@given(STEPS, WORKERS, BUDGETS)
def test_every_rank_gets_equally_many_micro_batches_within_the_budget(
    loads: list[Load], num_workers: int, max_tokens: int
) -> None:
    examples = [100 + number for number in range(len(loads))]
    ranks = split(examples, loads, num_workers, max_tokens)
    assert len(ranks) == num_workers
    assert len({len(batches) for batches in ranks}) == 1
    together = [batch for batches in ranks for batch in batches]
    assert sorted(example for batch in together for example in batch) == examples
    assert together.count([]) == max(0, num_workers - len(loads))
    for batch in together:
        assert sum(loads[example - 100].tokens for example in batch) <= max_tokens
    with_audio = sum(load.audio_tokens > 0 for load in loads)
    heard = sum(any(loads[example - 100].audio_tokens for example in batch) for batch in together)
    assert heard == min(with_audio, len(together) - together.count([]))


@given(STEPS, WORKERS, st.randoms(use_true_random=False))
def test_the_split_depends_on_the_examples_and_not_on_their_order(
    loads: list[Load], num_workers: int, draw: random.Random
) -> None:
    pairs = list(enumerate(loads))
    shuffled = draw.sample(pairs, len(pairs))
    first, second = (
        split([number for number, _ in some], [load for _, load in some], num_workers, 2 * LONGEST)
        for some in (pairs, shuffled)
    )
    assert first == second


@given(STEPS, WORKERS)
def test_work_differs_by_no_more_than_one_example(loads: list[Load], num_workers: int) -> None:
    examples = range(len(loads))
    heard = [Load(load.tokens, max(load.audio_tokens, 1)) for load in loads]
    ranks = split(examples, heard, num_workers, LONGEST * len(loads))
    work = [sum(heard[i].work for batch in batches for i in batch) for batches in ranks]
    assert {len(batches) for batches in ranks} == {1}
    assert max(work) - min(work) <= max(load.work for load in heard)


def test_long_examples_go_to_different_workers() -> None:
    loads = [Load(10, 5), Load(9, 5), Load(1, 1), Load(1, 1)]
    for batches in split([0, 1, 2, 3], loads, 2, 100):
        assert len({0, 1} & set(batches[0])) == 1


def test_an_example_that_is_twice_in_a_step_is_computed_twice() -> None:
    ranks = split([7, 7, 8], [Load(5, 5), Load(5, 5), Load(4, 2)], 2, 100)
    assert sorted(i for batches in ranks for batch in batches for i in batch) == [7, 7, 8]


def test_there_are_no_more_micro_batches_than_the_budget_asks_for() -> None:
    loads = [Load(50, 10)] * 8
    assert [len(batches) for batches in split(range(8), loads, 2, 400)] == [1, 1]
    assert [len(batches) for batches in split(range(8), loads, 2, 100)] == [2, 2]
    assert [len(batches) for batches in split(range(8), loads, 2, 50)] == [4, 4]


def test_an_example_above_the_budget_is_named() -> None:
    with pytest.raises(SplitError, match=r"example 41 has 101 tokens.*may have 100.*max_tokens"):
        split([40, 41], [Load(100, 3), Load(101, 3)], 1, 100)


def test_too_few_long_examples_for_equally_many_micro_batches_leave_one_empty() -> None:
    loads = [Load(100, 10)] * 3
    assert sorted(map(sorted, split([0, 1, 2], loads, 2, 100))) == [[[], [0]], [[1], [2]]]
    assert [len(batches) for batches in split([0, 1, 2], loads, 2, 200)] == [1, 1]


def test_work_is_the_tokens_and_those_of_audio_once_more() -> None:
    assert Load(tokens=30, audio_tokens=12).work == 42


def test_rows_of_micro_batches_are_dealt_back_and_forth() -> None:
    """Four of 10, 9, 8 and 7: each rank has 17. In one direction they had 18 and 16."""
    loads = [Load(tokens, 0) for tokens in (10, 9, 8, 7)]
    assert split(range(4), loads, 2, 10) == [[[0], [3]], [[1], [2]]]


def test_the_longest_comes_first_and_of_equals_the_lower_number() -> None:
    loads = [Load(5, 1), Load(7, 1), Load(5, 1)]
    assert split([4, 9, 2], loads, 1, 100) == [[[9, 2, 4]]]


def test_audio_comes_before_text_however_long_the_text_is() -> None:
    assert split([0, 1], [Load(90, 0), Load(2, 1)], 1, 100) == [[[1, 0]]]


def test_an_example_goes_where_least_work_is_and_still_room() -> None:
    """7 and 5 open one each; 3 joins the 5, the other 3 then fills the 7, and 2 the rest."""
    loads = [Load(7, 0), Load(5, 0), Load(3, 0), Load(3, 0), Load(2, 0)]
    assert split(range(5), loads, 2, 10) == [[[0, 3]], [[1, 2, 4]]]


def test_examples_of_no_work_are_spread_too() -> None:
    assert split([0, 1], [Load(0, 0)] * 2, 2, 10) == [[[0]], [[1]]]
    assert sorted(split([0], [Load(0, 0)], 2, 10)) == [[[]], [[0]]]
