"""What lies in two splits and must not, or twice, found in whole columns.

Millions of rows are looked through, so everything here works on numbers: a key is the hash of what
two rows may not share, and 0 where a row has none. Words are made only of the rows that stray, when
they are asked for.
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
"""What a known voice gives away."""
TEXT = pa.large_string()
NO_KEY = 0
_TEXT: Any = pd.StringDtype("pyarrow", na_value=np.nan)
_AT_ONCE = 1 << 16
RANK_BITS = 0b11
"""They are 0 in every key, so that a split's place in `SPLITS` fits there."""

Rows = NDArray[np.int64]
Keys = NDArray[np.int64]
Ranks = NDArray[np.int8]
"""Place of each row's split in `SPLITS`."""


@dataclass(frozen=True)
class Told:
    """Rows that break a rule, in their order, and of each in words how."""

    rows: Rows
    words: Callable[[int], str]
    """Of the n-th of them."""

    def column(self, begin: int, end: int) -> pd.Series:
        """A text column of the rows `begin` to `end`, null but in those that break the rule."""
        first, last = np.searchsorted(self.rows, (begin, end)).tolist()
        return told(
            end - begin, {int(self.rows[n]) - begin: self.words(n) for n in range(first, last)}
        )


def text_series(values: pa.ChunkedArray | pa.Array) -> pd.Series:
    """An Arrow array of text as a column, without a Python object a row."""
    return pd.Series(_TEXT.__from_arrow__(values))


def told(count: int, words: dict[int, str]) -> pd.Series:
    """A text column that is null but in the rows of `words`."""
    places = np.full(count, len(words))
    places[list(words)] = range(len(words))
    return text_series(pa.array([*words.values(), None], TEXT).take(pa.array(places)))


def strays(ranks: Ranks, keys: Keys) -> tuple[Rows, Rows]:
    """Rows whose key is in an earlier split too, in their order, and for each the first row there.

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


def first_of(found: Sequence[Told]) -> Told:
    """The rows of all, with the words of the first that has them."""
    owners = np.concatenate([np.full(len(each.rows), number) for number, each in enumerate(found)])
    places = np.concatenate([np.arange(len(each.rows)) for each in found])
    rows, chosen = np.unique(np.concatenate([each.rows for each in found]), return_index=True)
    return Told(rows, lambda n: found[owners[chosen[n]]].words(int(places[chosen[n]])))


def are_in(keys: Keys, wanted: Keys) -> NDArray[np.bool_]:
    """Which of `keys` are among `wanted`; needs a byte a row besides."""
    wanted = np.unique(wanted)
    found = np.zeros(len(keys), bool)
    for begin in range(0, len(keys) if len(wanted) else 0, _AT_ONCE):
        some = keys[begin : begin + _AT_ONCE]
        places = np.minimum(np.searchsorted(wanted, some), len(wanted) - 1)
        found[begin : begin + _AT_ONCE] = wanted[places] == some
    return found


def _of_one_key(keys: Keys, wanted: Keys, ranks: Ranks) -> tuple[Rows, Rows]:
    """The rows that have one of `wanted`, and for each the first of its key by rank, then place."""
    rows = np.flatnonzero(are_in(keys, wanted[wanted != NO_KEY]))
    order = rows[np.lexsort((ranks[rows], keys[rows]))]  # stable: rows of one rank stay in order
    _, begins, group = np.unique(keys[order], return_index=True, return_inverse=True)
    hosts = order[begins][group]
    back = np.argsort(order)
    return order[back], hosts[back]
