"""Finds keys that occur in two splits, or twice, in whole columns.

Millions of rows are searched, so everything here works on numbers: a key is the hash of what two
rows may not share, and 0 where a row has none. Texts are made only for the rows that break a rule,
when they are asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.records import Split, TaskName

SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_ORDER = {split: rank for rank, split in enumerate(SPLITS)}
SPEAKER_TASKS: tuple[TaskName, ...] = ("lid", "digits", "voice_chat")
"""Tasks whose answer a known voice gives away."""
TEXT = pa.large_string()
NO_KEY = 0
_TEXT: Any = pd.StringDtype("pyarrow", na_value=np.nan)
_AT_ONCE = 1 << 16
RANK_BITS = 0b11
"""Bits that are 0 in every key, so that the index of a split in `SPLITS` fits there."""

Rows = NDArray[np.int64]
Keys = NDArray[np.int64]
Ranks = NDArray[np.int8]
"""Index of each row's split in `SPLITS`."""


@dataclass(frozen=True)
class Violations:
    """Rows that break a rule, in their order, each with a text that says how."""

    rows: Rows
    text: Callable[[int], str]
    """Text of the n-th of them."""

    def column(self, begin: int, end: int) -> pd.Series:
        """Text column of the rows `begin` to `end`, null except in those that break the rule."""
        first, last = np.searchsorted(self.rows, (begin, end)).tolist()
        texts = {int(self.rows[n]) - begin: self.text(n) for n in range(first, last)}
        return sparse_text(end - begin, texts)


def text_series(values: pa.ChunkedArray | pa.Array) -> pd.Series:
    """Wrap an Arrow array of text as a column, without a Python object per row."""
    return pd.Series(_TEXT.__from_arrow__(values))


def sparse_text(num_rows: int, texts: dict[int, str]) -> pd.Series:
    """Text column of `num_rows` that is null except in the rows of `texts`."""
    indices = np.full(num_rows, len(texts))
    indices[list(texts)] = range(len(texts))
    return text_series(pa.array([*texts.values(), None], TEXT).take(pa.array(indices)))


def strays(ranks: Ranks, keys: Keys) -> tuple[Rows, Rows]:
    """Rows whose key is also in an earlier split, in their order, and for each the first row there.

    A key's home is the first of train, dev, test that has it. Rows elsewhere are the strays, so
    their number is what must move, and not the size of the group.
    """
    shared = [np.zeros(0, np.int64)]
    ordered = keys | ranks  # keys in their order, and the splits of each
    ordered.sort()
    for begin in range(0, len(keys), _AT_ONCE):
        some = ordered[begin : begin + _AT_ONCE + 1]
        apart = some[1:] ^ some[:-1]
        shared.append(some[1:][(apart > 0) & (apart <= RANK_BITS)] & ~RANK_BITS)
    del ordered
    rows, hosts = _of_one_key(keys, np.concatenate(shared), ranks)
    stray = ranks[rows] > ranks[hosts]
    return rows[stray], hosts[stray]


def repeats(keys: Keys) -> tuple[Rows, Rows]:
    """Rows that share their key with others, in their order, and for each the first that has it."""
    ordered = np.sort(keys)
    several = ordered[1:][ordered[1:] == ordered[:-1]]
    del ordered
    return _of_one_key(keys, several, np.zeros(len(keys), np.int8))


def first_of(violations: Sequence[Violations]) -> Violations:
    """Rows of all violations, each with the text of the first that has it."""
    sizes = [len(each.rows) for each in violations]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    positions = np.concatenate([np.arange(size) for size in sizes])
    rows, chosen = np.unique(np.concatenate([each.rows for each in violations]), return_index=True)

    def text(n: int) -> str:
        return violations[int(owners[chosen[n]])].text(int(positions[chosen[n]]))

    return Violations(rows, text)


def are_in(keys: Keys, wanted: Keys) -> NDArray[np.bool_]:
    """Whether each of `keys` is among `wanted`; needs one more byte per row."""
    wanted = np.unique(wanted)
    matches = np.zeros(len(keys), bool)
    for begin in range(0, len(keys) if len(wanted) else 0, _AT_ONCE):
        some = keys[begin : begin + _AT_ONCE]
        nearest = np.minimum(np.searchsorted(wanted, some), len(wanted) - 1)
        matches[begin : begin + _AT_ONCE] = wanted[nearest] == some
    return matches


def _of_one_key(keys: Keys, wanted: Keys, ranks: Ranks) -> tuple[Rows, Rows]:
    """Rows with one of the `wanted` keys, and for each the first of its key by rank, then order."""
    rows = np.flatnonzero(are_in(keys, wanted[wanted != NO_KEY]))
    order = rows[np.lexsort((ranks[rows], keys[rows]))]  # stable: rows of one rank stay in order
    _, begins, group = np.unique(keys[order], return_index=True, return_inverse=True)
    hosts = order[begins][group]
    back = np.argsort(order)
    return order[back], hosts[back]
