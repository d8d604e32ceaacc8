"""What lies in two splits and must not, found in whole columns.

Millions of rows are looked through, so everything here works on codes of keys; words are made only
for the rows that stray.
"""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.records import Split, Task

SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_ORDER = {split: rank for rank, split in enumerate(SPLITS)}
SPEAKER_TASKS: tuple[Task, ...] = ("lid", "digits", "voice_chat")
"""What a known voice gives away."""
TEXT = pa.large_string()
_TEXT: Any = pd.StringDtype("pyarrow", na_value=np.nan)


def text_series(values: pa.ChunkedArray | pa.Array) -> pd.Series:
    """An Arrow array of text as a column, without a Python object a row."""
    return pd.Series(_TEXT.__from_arrow__(values))


def told(count: int, words: dict[int, str]) -> pd.Series:
    """A text column that is null but in the rows of `words`."""
    places = np.full(count, len(words))
    places[list(words)] = range(len(words))
    return text_series(pa.array([*words.values(), None], TEXT).take(pa.array(places)))


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


def split_leaks(ids: pd.Series, columns: Mapping[str, pa.ChunkedArray]) -> dict[str, pd.Series]:
    """What may not be in two splits: a phrase, a recording, and a voice where voices are learnt."""
    ranks = columns["rank"].to_numpy()

    def leaks(name: str, what: str = "") -> dict[int, str]:
        return leaks_into(ids, ranks, text_series(columns[name]), what)

    voices: dict[int, str] = {}
    for task in SPEAKER_TASKS:
        voices = leaks(task, f"{task} speaker ") | voices
    hashes = columns["recording"].to_numpy()
    recordings = pd.Series(pd.arrays.IntegerArray(hashes, hashes == 0))
    same = {
        row: f"split {SPLITS[ranks[host]]} also has '{ids.iloc[host]}' of the same recording"
        for row, host in strays(ranks, recordings)
    }
    return {
        "phrase_leaks_into": told(len(ids), leaks("phrase")),
        "recording_leaks_into": told(len(ids), same),
        "speaker_leaks_into": told(len(ids), voices),
    }


def duplicates(ids: pd.Series, columns: Mapping[str, pa.ChunkedArray]) -> pd.Series:
    """Rows with the bytes and the answers of an earlier one, which they name."""
    recordings, labels = columns["recording"].to_numpy(), columns["labels"].to_numpy()
    repeated = np.flatnonzero(pd.Series(recordings).duplicated(keep=False))
    first: dict[tuple[int, int], int] = {}
    words = {}
    for row in repeated.tolist():
        earlier = first.setdefault((int(recordings[row]), int(labels[row])), row)
        if earlier != row:
            words[row] = str(ids.iloc[earlier])
    return told(len(ids), words)


def origin_leaks(ids: pd.Series, columns: Mapping[str, pa.ChunkedArray]) -> pd.Series:
    """Compositions: no recording may be heard in two splits, alone or as a part."""
    lists = columns["parts"].combine_chunks()
    composed, names = lists.value_parent_indices().to_numpy(), text_series(lists.flatten())
    alone = np.flatnonzero(ids.isin(names.unique()))
    rows = np.concatenate([alone, composed])
    keys = pd.concat([ids.iloc[alone], names], ignore_index=True)
    order = rows.argsort(kind="stable")
    rows, keys = rows[order], keys.iloc[order].reset_index(drop=True)
    part_ranks = columns["rank"].to_numpy()[rows]
    words: dict[int, str] = {}
    for part, host in strays(part_ranks, keys):
        words.setdefault(
            int(rows[part]),
            f"split {SPLITS[part_ranks[host]]} also has '{ids.iloc[rows[host]]}' "
            f"with origin '{keys.iloc[part]}'",
        )
    return told(len(ids), words)
