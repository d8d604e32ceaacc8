"""Clips as tables: the columns that the contracts in `clip_suites.py` test.

Millions of clips pass through, so the tables come in slices. What a rule needs and a clip does not
hold is derived of whole columns. A text column that is named after a problem (`phrase_leaks_into`,
`empty_targets`) is null where all is well.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.audio_limits import SAMPLE_RATE
from data_contracts.clip_columns import characters, index_columns, keys_of, manifest_columns
from data_contracts.records import Clip, PackedClip, TaskName
from data_contracts.split_leaks import (
    RANK_BITS,
    SPEAKER_TASKS,
    SPLITS,
    TEXT,
    Keys,
    Told,
    are_in,
    first_of,
    repeats,
    strays,
    text_series,
    told,
)

SLICE_ROWS = 1 << 19
"""What is in memory at a time; each slice costs Great Expectations some time besides its rows."""
_SILENT_SECONDS = 0.15
"""Silence around the speech of a trimmed recording, which no character accounts for."""


def manifest_frames(clips: Iterable[Clip]) -> Iterator[pd.DataFrame]:
    """A row for each clip of a manifest, for the contract MANIFEST. The clips are not held."""
    columns = manifest_columns(clips)
    problems = _problems(columns)
    for begin, end in _slices(columns.num_rows):
        some = columns.slice(begin, end - begin)
        yield pd.DataFrame(
            {
                "id": text_series(some["id"]),
                "split": _splits(some["rank"]),
                "language": text_series(some["language"]),
                "text_without_language": text_series(some["unlabelled"]),
                "empty_targets": text_series(some["empty"]),
                **{name: found.column(begin, end) for name, found in problems.items()},
            }
        )


def shard_index_frames(
    clips: Iterable[PackedClip], max_seconds: float, about_the_whole: Collection[str]
) -> Iterator[pd.DataFrame]:
    """A row for each packed clip, for the contract SHARD_INDEX. The clips are not held.

    Args:
        max_seconds: longest clip that the corpus may have.
        about_the_whole: tasks whose answers account for all that is heard.
    """
    columns = index_columns(clips, about_the_whole)
    problems = _problems(columns) | {
        "duplicate_of": _duplicates(columns),
        "origin_leaks_into": _origin_leaks(columns),
    }
    for begin, end in _slices(columns.num_rows):
        some = columns.slice(begin, end - begin)
        seconds = some["num_samples"].to_numpy() / SAMPLE_RATE
        yield pd.DataFrame(
            {
                "id": text_series(some["id"]),
                "split": _splits(some["rank"]),
                "seconds": seconds,
                **{
                    name: some[name].to_numpy()
                    for name in ("offset", "size", "rms", "clipped_share")
                },
                "too_long": _too_long(seconds, max_seconds),
                "cut_answers": text_series(some["cut_answers"]),
                "characters_per_second": _speaking_rate(some["characters"].to_numpy(), seconds),
                **{name: found.column(begin, end) for name, found in problems.items()},
            }
        )


def characters_per_second(clips: Sequence[PackedClip]) -> NDArray[np.float64]:
    """Speaking rate of each clip by its transcript, NaN without one or in a dense script."""
    seconds = np.array([clip.num_samples for clip in clips], float) / SAMPLE_RATE
    return _speaking_rate(np.array(characters(clips), float), seconds)


def _speaking_rate(
    num_characters: NDArray[np.float64], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    # A recording shorter than its silence gets a tiny positive length: implausible, not negative.
    return num_characters / np.maximum(seconds - _SILENT_SECONDS, 1e-3)


def _slices(count: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each; one without rows where there are none."""
    for begin in range(0, max(count, 1), SLICE_ROWS):
        yield begin, min(begin + SLICE_ROWS, count)


def _splits(ranks: pa.ChunkedArray) -> pd.Series:
    return text_series(pa.array(SPLITS, TEXT).take(ranks.combine_chunks()))


def _too_long(seconds: NDArray[np.float64], most: float) -> pd.Series:
    beyond = np.flatnonzero(seconds > most).tolist()
    return told(len(seconds), {row: f"{seconds[row]:.4f} s, at most {most:g} s" for row in beyond})


def _problems(columns: pa.Table) -> dict[str, Told]:
    """Ids that occur twice, and what may not be in two splits: a phrase, a recording, and a voice
    where voices are learnt.
    """
    phrases = _texts(columns, "phrase")
    return {
        "repeated_id": _repeated_ids(columns),
        "phrase_leaks_into": _leaks(
            columns, keys_of(columns, "phrase_key"), lambda row: f"with {phrases(row)}"
        ),
        "recording_leaks_into": _leaks(
            columns, keys_of(columns, "recording_key"), lambda _: "of the same recording"
        ),
        "speaker_leaks_into": first_of([_voice_leaks(columns, task) for task in SPEAKER_TASKS]),
    }


def _leaks(columns: pa.Table, keys: Keys, what: Callable[[int], str]) -> Told:
    """Rows that stray from their key's split; `what` tells the key of a row."""
    ids, ranks = _texts(columns, "id"), columns["rank"].to_numpy()
    rows, hosts = strays(ranks, keys)
    return Told(
        rows,
        lambda n: f"split {SPLITS[ranks[hosts[n]]]} also has '{ids(hosts[n])}' {what(rows[n])}",
    )


def _voice_leaks(columns: pa.Table, task: TaskName) -> Told:
    speakers = _texts(columns, "speaker")
    keys = keys_of(columns, f"{task}_voice_key")
    return _leaks(columns, keys, lambda row: f"with {task} speaker '{speakers(row)}'")


def _repeated_ids(columns: pa.Table) -> Told:
    rows, firsts = repeats(keys_of(columns, "id_key"))
    return Told(rows, lambda n: f"row {firsts[n] + 1} has it first")


def _duplicates(columns: pa.Table) -> Told:
    """Rows with the bytes and the answers of an earlier one, which they name."""
    ids = _texts(columns, "id")
    rows, firsts = repeats(keys_of(columns, "content_key"))
    again = rows != firsts
    rows, firsts = rows[again], firsts[again]
    return Told(rows, lambda n: ids(firsts[n]))


def _origin_leaks(columns: pa.Table) -> Told:
    """Compositions: no recording may be heard in two splits, alone or as a part."""
    lists = columns["parts"].combine_chunks()
    composed, names = lists.value_parent_indices().to_numpy(), lists.flatten().to_pylist()
    id_keys = keys_of(columns, "id_key")
    part_keys: Keys = np.array([hash(name) for name in names], np.int64) & ~RANK_BITS
    alone = np.flatnonzero(are_in(id_keys, part_keys))
    rows = np.concatenate([alone, composed])
    order = rows.argsort(kind="stable")
    rows, keys = rows[order], np.concatenate([id_keys[alone], part_keys])[order]
    ranks, ids = columns["rank"].to_numpy()[rows], _texts(columns, "id")
    called = dict(zip(part_keys.tolist(), names, strict=True))
    parts, hosts = strays(ranks, keys)
    leaking, first = np.unique(rows[parts], return_index=True)

    def words(n: int) -> str:
        part, host = parts[first[n]], hosts[first[n]]
        home = f"split {SPLITS[ranks[host]]} also has '{ids(rows[host])}'"
        return f"{home} with origin '{called[int(keys[part])]}'"

    return Told(leaking, words)


def _texts(columns: pa.Table, name: str) -> Callable[[int], str]:
    """The text of a row; for the few that are told of."""
    column = columns[name]
    return lambda row: str(column[int(row)])
