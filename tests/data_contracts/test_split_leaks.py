"""Leaks and repetitions in columns of numbers, compared with a search by dictionaries."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts import split_leaks
from data_contracts.split_leaks import Violations, are_in, first_of, repeats, sparse_text, strays

TRAIN, DEV, TEST = 0, 1, 2
KEYS = st.integers(0, 12).map(lambda number: 4 * number)
"""Of few values, so that many are equal; their two lowest bits are free for the split, and 0 is
the key of a row without one.
"""
ROWS = st.lists(st.tuples(KEYS, st.sampled_from([TRAIN, DEV, TEST])), max_size=40)


@pytest.fixture(params=[1, 2, 3, 7])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of some rows."""
    monkeypatch.setattr(split_leaks, "_AT_ONCE", request.param)


def columns(rows: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    keys = np.array([key for key, _ in rows], np.int64)
    return np.array([rank for _, rank in rows], np.int8), keys


def strays_by_hand(rows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    homes: dict[int, tuple[int, int]] = {}
    for number, (key, rank) in enumerate(rows):
        homes[key] = min(homes.get(key, (rank, number)), (rank, number))
    return [
        (number, homes[key][1])
        for number, (key, rank) in enumerate(rows)
        if key and rank > homes[key][0]
    ]


@pytest.mark.usefixtures("block")
@given(rows=ROWS)
def test_strays_are_the_rows_whose_key_an_earlier_split_has(rows: list[tuple[int, int]]) -> None:
    found, hosts = strays(*columns(rows))
    assert [*zip(found.tolist(), hosts.tolist(), strict=True)] == strays_by_hand(rows)


@pytest.mark.usefixtures("block")
@given(rows=ROWS)
def test_repeats_are_the_rows_whose_key_another_has(rows: list[tuple[int, int]]) -> None:
    keys = [key for key, _ in rows]
    found, firsts = repeats(np.array(keys, np.int64))
    assert [*zip(found.tolist(), firsts.tolist(), strict=True)] == [
        (number, keys.index(key)) for number, key in enumerate(keys) if key and keys.count(key) > 1
    ]


@pytest.mark.usefixtures("block")
@given(keys=st.lists(KEYS), wanted=st.lists(KEYS))
def test_membership_is_that_of_a_set(keys: list[int], wanted: list[int]) -> None:
    found = are_in(np.array(keys, np.int64), np.array(wanted, np.int64))
    assert found.tolist() == [key in set(wanted) for key in keys]


@pytest.mark.parametrize("before", [65_534, 65_535, 65_536])
def test_a_leak_across_the_border_of_two_blocks_is_found(before: int) -> None:
    """In the order of keys, `before` rows come first and two more follow the leak."""
    keys = 4 * np.concatenate([np.arange(1, before + 1), np.repeat(before + 1, 2), [2**40, 2**41]])
    ranks = np.zeros(len(keys), np.int8)
    ranks[before + 1] = TEST
    rows, hosts = strays(ranks, keys)
    assert (rows.tolist(), hosts.tolist()) == ([before + 1], [before])


def test_the_largest_and_the_smallest_keys_are_searched_too() -> None:
    ends = np.iinfo(np.int64)
    keys = np.array([ends.min, ends.max & ~3, ends.min, ends.max & ~3], np.int64)
    rows, hosts = strays(np.array([TRAIN, DEV, DEV, TEST], np.int8), keys)
    assert (rows.tolist(), hosts.tolist()) == ([2, 3], [0, 1])


def violations(rows: Sequence[int], name: str) -> Violations:
    return Violations(np.array(rows, np.int64), lambda n: f"{name} {n}")


def test_a_slice_shows_the_texts_of_its_own_rows() -> None:
    column = violations([2, 3, 6], "n").column(3, 7)
    assert column.isna().tolist() == [False, True, True, False]
    assert column.dropna().tolist() == ["n 1", "n 2"]


def test_a_row_that_breaks_several_rules_shows_the_first() -> None:
    joined = first_of([violations([1, 5], "a"), violations([], "b"), violations([0, 5, 7], "c")])
    assert joined.rows.tolist() == [0, 1, 5, 7]
    assert [joined.text(n) for n in range(4)] == ["c 0", "a 0", "a 1", "c 2"]


@given(texts=st.dictionaries(st.integers(0, 9), st.text(max_size=5)))
def test_a_sparse_column_is_null_but_in_some_rows(texts: dict[int, str]) -> None:
    column = sparse_text(10, texts)
    assert {row: text for row, text in column.items() if not pd.isna(text)} == texts
    assert len(column) == 10
