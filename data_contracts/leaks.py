"""What lies in two splits and must not, found in whole columns.

Millions of rows are looked through, so everything here works on codes of keys; words are made only
for the rows that stray.
"""

from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.records import Split

SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_ORDER = {split: rank for rank, split in enumerate(SPLITS)}
_TEXT: Any = pd.StringDtype("pyarrow", na_value=np.nan)


def text_series(values: pa.ChunkedArray | pa.Array) -> pd.Series:
    """An Arrow array of text as a column, without a Python object a row."""
    return pd.Series(_TEXT.__from_arrow__(values))


def nothing(count: int) -> pd.Series:
    """A text column of nulls."""
    return text_series(pa.nulls(count, pa.large_string()))


def told(count: int, words: dict[int, str]) -> pd.Series:
    """A text column that is null but in the rows of `words`."""
    if not words:
        return nothing(count)
    values = np.full(count, None, object)
    for row, text in words.items():
        values[row] = text
    return pd.Series(values, dtype=_TEXT)


def strays(ranks: NDArray[np.int8], keys: pd.Series) -> list[tuple[int, int]]:
    """Pairs (row, host): each row whose key is in an earlier split too, and the first row there.

    A key's home is the first of train, dev, test that has it. Rows elsewhere are the strays, so
    their number is what must move, and not the size of the group. A null key is none.

    Args:
        ranks: place of each row's split in `SPLITS`.
    """
    codes, names = pd.factorize(keys)
    keyed = codes >= 0
    homes = np.full(len(names) + 1, len(SPLITS), np.int8)  # the last is that of no key
    np.minimum.at(homes, codes[keyed], ranks[keyed])
    found = np.flatnonzero(keyed & (ranks > homes[codes]))
    if len(found) == 0:
        return []
    at_home = np.flatnonzero(
        keyed & (ranks == homes[codes]) & np.isin(codes, np.unique(codes[found]))
    )
    hosted, first = np.unique(codes[at_home], return_index=True)
    hosts = dict(zip(hosted.tolist(), at_home[first].tolist(), strict=True))
    return [(row, hosts[codes[row]]) for row in found.tolist()]


def leaks_into(
    ids: pd.Series, ranks: NDArray[np.int8], keys: pd.Series, what: str = ""
) -> dict[int, str]:
    """For each stray row, in words: which row of an earlier split has its key."""
    return {
        row: f"split {SPLITS[ranks[host]]} also has '{ids.iloc[host]}' with {what}{keys.iloc[row]}"
        for row, host in strays(ranks, keys)
    }
