"""Tables of clips: the columns that the contracts in `clip_contracts.py` test.

Millions of clips pass through, so the tables come in slices. Columns that a clip has no field for
are derived from whole columns. A text column that is named after a problem (`phrase_leaks_into`,
`empty_targets`) is null where there is none.
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
    Violations,
    are_in,
    first_of,
    repeats,
    sparse_text,
    strays,
    text_series,
)

SLICE_ROWS = 1 << 19
"""Rows in memory at a time; each slice costs Great Expectations some time besides its rows."""
_SILENT_SECONDS = 0.15
"""Silence around the speech of a trimmed recording, which no character accounts for."""


def manifest_frames(clips: Iterable[Clip]) -> Iterator[pd.DataFrame]:
    """Build the table of the contract MANIFEST: a row per clip. The clips are not held."""
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
                **{name: rows.column(begin, end) for name, rows in problems.items()},
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
                **{name: rows.column(begin, end) for name, rows in problems.items()},
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
    """Begin and end of each slice; a table without rows has one empty slice."""
    for begin in range(0, max(count, 1), SLICE_ROWS):
        yield begin, min(begin + SLICE_ROWS, count)


def _splits(ranks: pa.ChunkedArray) -> pd.Series:
    return text_series(pa.array(SPLITS, TEXT).take(ranks.combine_chunks()))


def _too_long(seconds: NDArray[np.float64], most: float) -> pd.Series:
    rows = np.flatnonzero(seconds > most).tolist()
    texts = {row: f"{seconds[row]:.4f} s, at most {most:g} s" for row in rows}
    return sparse_text(len(seconds), texts)


def _problems(columns: pa.Table) -> dict[str, Violations]:
    """Repeated ids; phrases and recordings in two splits; voices in two splits, for tasks that a
    known voice gives away.
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


def _leaks(columns: pa.Table, keys: Keys, what: Callable[[int], str]) -> Violations:
    """Rows that stray from their key's split; `what` describes the key of a row."""
    ids, ranks = _texts(columns, "id"), columns["rank"].to_numpy()
    rows, hosts = strays(ranks, keys)
    return Violations(
        rows,
        lambda n: f"split {SPLITS[ranks[hosts[n]]]} also has '{ids(hosts[n])}' {what(rows[n])}",
    )


def _voice_leaks(columns: pa.Table, task: TaskName) -> Violations:
    speakers = _texts(columns, "speaker")
    keys = keys_of(columns, f"{task}_voice_key")
    return _leaks(columns, keys, lambda row: f"with {task} speaker '{speakers(row)}'")


def _repeated_ids(columns: pa.Table) -> Violations:
    rows, firsts = repeats(keys_of(columns, "id_key"))
    return Violations(rows, lambda n: f"row {firsts[n] + 1} has it first")


def _duplicates(columns: pa.Table) -> Violations:
    """Rows with the bytes and the answers of an earlier one; the text is its id."""
    ids = _texts(columns, "id")
    rows, firsts = repeats(keys_of(columns, "content_key"))
    again = rows != firsts
    rows, firsts = rows[again], firsts[again]
    return Violations(rows, lambda n: ids(firsts[n]))


def _origin_leaks(columns: pa.Table) -> Violations:
    """Compositions and recordings by which a recording is in two splits, alone or as a part."""
    lists = columns["parts"].combine_chunks()
    composed, names = lists.value_parent_indices().to_numpy(), lists.flatten().to_pylist()
    id_keys = keys_of(columns, "id_key")
    part_keys: Keys = np.array([hash(name) for name in names], np.int64) & ~RANK_BITS
    alone = np.flatnonzero(are_in(id_keys, part_keys))
    rows = np.concatenate([alone, composed])
    order = rows.argsort(kind="stable")
    rows, keys = rows[order], np.concatenate([id_keys[alone], part_keys])[order]
    ranks, ids = columns["rank"].to_numpy()[rows], _texts(columns, "id")
    names_of = dict(zip(part_keys.tolist(), names, strict=True))
    parts, hosts = strays(ranks, keys)
    leaking, first = np.unique(rows[parts], return_index=True)

    def text(n: int) -> str:
        part, host = parts[first[n]], hosts[first[n]]
        home = f"split {SPLITS[ranks[host]]} also has '{ids(rows[host])}'"
        return f"{home} with origin '{names_of[int(keys[part])]}'"

    return Violations(leaking, text)


def _texts(columns: pa.Table, name: str) -> Callable[[int], str]:
    """Function that gives the text of a row; for the few rows that break a rule."""
    column = columns[name]
    return lambda row: str(column[int(row)])
