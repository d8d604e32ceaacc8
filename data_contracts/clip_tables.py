"""Clips as tables: the columns that the contracts in `clip_suites.py` test.

Millions of clips pass through and are not held: some thousand at a time are taken apart into Arrow
columns, and what a rule needs and a clip does not hold is derived of whole columns. A text column
that is named after a problem (`phrase_leaks_into`, `empty_targets`) is null where all is well.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.leaks import (
    SPEAKER_TASKS,
    SPLIT_ORDER,
    SPLITS,
    TEXT,
    duplicates,
    origin_leaks,
    split_leaks,
    text_series,
    told,
)
from data_contracts.records import (
    MIN_SECONDS,
    SAMPLES_PER_SECOND,
    Clip,
    PackedClip,
    Task,
    answers_about_the_whole,
)

AnyClip = TypeVar("AnyClip", Clip, PackedClip)

_SILENT_SECONDS = 0.15
"""Silence around the speech of a trimmed recording, which no character accounts for."""
_DENSE_SCRIPTS = frozenset({"zh", "ja", "ko"})
"""Languages whose characters are words or syllables: no common characters per second."""
_NUMBERS = ("offset", "size", "rms", "clipped_share")
_ROWS_AT_ONCE = 1024
"""Clips that stay in the processor's cache while column after column is taken from them."""


def manifest_frame(clips: Iterable[Clip]) -> pd.DataFrame:
    """A row for each clip of a manifest, for the contract MANIFEST. The clips are not held."""
    columns = _collect(clips, _manifest_columns)
    frame = pd.DataFrame(
        {
            "id": text_series(columns["id"]),
            "split": _split_column(columns["rank"]),
            "language": text_series(columns["language"]),
            "text_without_language": text_series(columns["unlabelled"]),
            "empty_targets": text_series(columns["empty"]),
        }
    )
    return frame.assign(**split_leaks(frame["id"], columns))


def shard_index_frame(clips: Iterable[PackedClip], max_seconds: float) -> pd.DataFrame:
    """A row for each packed clip, for the contract SHARD_INDEX; `max_seconds` is the limit.

    The clips are not held.
    """
    columns = _collect(clips, _index_columns)
    ids = text_series(columns["id"])
    numbers = {name: columns[name].to_numpy() for name in _NUMBERS}
    seconds = columns["num_samples"].to_numpy() / SAMPLES_PER_SECOND
    too_long = {
        int(row): f"{seconds[row]:.4f} s, at most {max_seconds:g} s"
        for row in np.flatnonzero(seconds > max_seconds)
    }
    frame = pd.DataFrame(
        {
            "id": ids,
            "split": _split_column(columns["rank"]),
            "seconds": seconds,
            **numbers,
            "too_long": told(len(ids), too_long),
            "cut_answers": text_series(columns["cut_answers"]),
            "characters_per_second": _speaking_rate(columns["characters"].to_numpy(), seconds),
            "duplicate_of": duplicates(ids, columns),
            "origin_leaks_into": origin_leaks(ids, columns),
        }
    )
    return frame.assign(**split_leaks(ids, columns))


def characters_per_second(clips: Sequence[PackedClip]) -> NDArray[np.float64]:
    """Speaking rate of each clip by its transcript, NaN without one or in a dense script."""
    seconds = np.array([clip.num_samples for clip in clips], float) / SAMPLES_PER_SECOND
    return _speaking_rate(np.array(_characters(clips), float), seconds)


def _speaking_rate(
    characters: NDArray[np.float64], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    # A recording shorter than its silence gets a tiny positive length: implausible, not negative.
    return characters / np.maximum(seconds - _SILENT_SECONDS, 1e-3)


def _collect(
    clips: Iterable[AnyClip], make: Callable[[list[AnyClip]], dict[str, pa.Array]]
) -> dict[str, pa.ChunkedArray]:
    """The columns that `make` takes from some thousand clips at a time, behind one another."""
    remaining = iter(clips)
    pieces = {name: [column] for name, column in make([]).items()}  # their types, without clips
    while rows := list(islice(remaining, _ROWS_AT_ONCE)):
        for name, column in make(rows).items():
            pieces[name].append(column)
    return {name: pa.chunked_array(columns) for name, columns in pieces.items()}


def _manifest_columns(clips: list[Clip]) -> dict[str, pa.Array]:
    return {
        "language": pa.array([clip.language for clip in clips], TEXT),
        "unlabelled": pa.array(
            [_text_without_language(clip) if clip.language is None else None for clip in clips],
            TEXT,
        ),
        "empty": pa.array(
            [
                None if all(map(str.strip, clip.targets.values())) else _empty_targets(clip)
                for clip in clips
            ],
            TEXT,
        ),
        **_keys(clips),
    }


def _index_columns(clips: list[PackedClip]) -> dict[str, pa.Array]:
    return {
        "offset": pa.array([clip.offset for clip in clips], pa.int64()),
        "size": pa.array([clip.size for clip in clips], pa.int64()),
        "num_samples": pa.array([clip.num_samples for clip in clips], pa.int64()),
        "rms": pa.array([clip.rms for clip in clips], pa.float64()),
        "clipped_share": pa.array([clip.clipped_share for clip in clips], pa.float64()),
        "characters": pa.array(_characters(clips), pa.float64()),
        "cut_answers": pa.array(
            [_cut_answers(clip) if clip.cut_seconds else None for clip in clips], TEXT
        ),
        "labels": pa.array([hash(frozenset(clip.targets.items())) for clip in clips], pa.int64()),
        "parts": pa.array(
            [None if clip.origin == (clip.id,) else clip.origin for clip in clips], pa.list_(TEXT)
        ),
        **_keys(clips),
    }


def _keys(clips: Sequence[Clip | PackedClip]) -> dict[str, pa.Array]:
    """What a row is called, its split, and what must stay in one split.

    Recordings (0: unknown) and labels are compared by hashes of 64 bits, which never leave this
    process: a million rows have two alike by chance once in thirty million times.
    """
    tasks: frozenset[Task] = frozenset().union(*(clip.targets for clip in clips))
    phrases = [
        f"{clip.kind} '{clip.phrase}'" if clip.phrase and _tests_phrase(clip) else None
        for clip in clips
    ]
    return {
        "id": pa.array([clip.id for clip in clips], TEXT),
        "rank": pa.array([SPLIT_ORDER[clip.split] for clip in clips], pa.int8()),
        "recording": pa.array([hash(clip.sha256 or 0) for clip in clips], pa.int64()),
        "phrase": pa.array(phrases, TEXT),
        **{
            task: _speakers(clips, task) if task in tasks else pa.nulls(len(clips), TEXT)
            for task in SPEAKER_TASKS
        },
    }


def _speakers(clips: Sequence[Clip | PackedClip], task: Task) -> pa.Array:
    """Who speaks in the clips of a task."""
    return pa.array(
        [f"'{clip.speaker}'" if clip.speaker and task in clip.targets else None for clip in clips],
        TEXT,
    )


def _tests_phrase(clip: Clip | PackedClip) -> bool:
    """Phrases of one kind are compared: the word "dog" and the sound "dog" are two things.

    Digits, questions and commands repeat their few sentences in every split on purpose: what is
    held out there is the voice.
    """
    if clip.kind == "speech":
        return "asr" in clip.targets or "s2tt" in clip.targets
    return clip.kind in ("sound", "note")


def _split_column(ranks: pa.ChunkedArray) -> pd.Series:
    return text_series(pa.array(SPLITS, TEXT).take(ranks.combine_chunks()))


def _characters(clips: Iterable[PackedClip]) -> list[int | None]:
    """Lengths of the transcripts that have a speaking rate."""
    return [
        None
        if (text := clip.targets.get("asr")) is None or clip.language in _DENSE_SCRIPTS
        else len(text)
        for clip in clips
    ]


def _text_without_language(clip: Clip) -> str | None:
    """The prompts of transcription and translation name the language that is spoken."""
    task = next((task for task in ("asr", "s2tt") if task in clip.targets), None)
    return task and f"{task} text without a language"


def _empty_targets(clip: Clip) -> str:
    return ", ".join(task for task, text in clip.targets.items() if not text.strip())


def _cut_answers(clip: PackedClip) -> str | None:
    """Answers about the whole of a recording, where what was cut off could have been heard."""
    answers = answers_about_the_whole(clip) if clip.cut_seconds >= MIN_SECONDS else ""
    return f"{answers} of {clip.cut_seconds:.1f} s more" if answers else None
