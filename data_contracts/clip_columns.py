"""Clips taken apart into columns, which wait in a file that is mapped into memory.

A million rows are some hundred megabytes, and the tables of contracts look at a part of them at a
time: the system may take back what nobody looks at.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from tempfile import NamedTemporaryFile
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.leaks import NO_KEY, SPEAKER_TASKS, SPLIT_ORDER, TEXT
from data_contracts.records import (
    MIN_SECONDS,
    Clip,
    PackedClip,
    Task,
    answers_about_the_whole,
)

AnyClip = TypeVar("AnyClip", Clip, PackedClip)

_DENSE_SCRIPTS = frozenset({"am", "cr", "ii", "iu", "ja", "ko", "oj", "ti", "yue", "zh"})
"""Languages whose characters are words or syllables: no common characters per second."""
_ROWS_AT_ONCE = 4096
"""Clips that stay in the processor's cache while column after column is taken from them."""


def manifest_columns(clips: Iterable[Clip]) -> pa.Table:
    """What the contract of a manifest looks at."""
    return _spooled(clips, _of_manifest)


def index_columns(clips: Iterable[PackedClip]) -> pa.Table:
    """What the contract of a shard index looks at."""
    return _spooled(clips, _of_index)


def numbers(columns: pa.Table, name: str) -> NDArray[np.int64]:
    """A column of whole numbers, copied into memory."""
    found: NDArray[np.int64] = columns[name].to_numpy()
    return found


def characters(clips: Iterable[PackedClip]) -> list[int | None]:
    """Lengths of the transcripts that have a speaking rate."""
    return [
        None
        if (text := clip.targets.get("asr")) is None or clip.language in _DENSE_SCRIPTS
        else len(text)
        for clip in clips
    ]


def _spooled(
    clips: Iterable[AnyClip], make: Callable[[list[AnyClip]], dict[str, pa.Array]]
) -> pa.Table:
    """The columns that `make` takes from some clips at a time; the clips are not held."""
    remaining = iter(clips)
    schema = pa.RecordBatch.from_pydict(make([])).schema
    with NamedTemporaryFile(prefix="q2a-columns-") as file:
        with pa.ipc.new_file(file.name, schema) as writer:
            while rows := list(islice(remaining, _ROWS_AT_ONCE)):
                writer.write_batch(pa.RecordBatch.from_pydict(make(rows), schema))
        # The mapping holds the file when its name is gone.
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


def _of_manifest(clips: list[Clip]) -> dict[str, pa.Array]:
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


def _of_index(clips: list[PackedClip]) -> dict[str, pa.Array]:
    return {
        "offset": pa.array([clip.offset for clip in clips], pa.int64()),
        "size": pa.array([clip.size for clip in clips], pa.int64()),
        "num_samples": pa.array([clip.num_samples for clip in clips], pa.int64()),
        "rms": pa.array([clip.rms for clip in clips], pa.float64()),
        "clipped_share": pa.array([clip.clipped_share for clip in clips], pa.float64()),
        "characters": pa.array(characters(clips), pa.float64()),
        "cut_answers": pa.array(
            [_cut_answers(clip) if clip.cut_seconds else None for clip in clips], TEXT
        ),
        "content_key": pa.array(
            [hash((clip.sha256, frozenset(clip.targets.items()))) for clip in clips], pa.int64()
        ),
        "parts": pa.array(
            [None if clip.origin == (clip.id,) else clip.origin for clip in clips], pa.list_(TEXT)
        ),
        **_keys(clips),
    }


def _keys(clips: Sequence[Clip | PackedClip]) -> dict[str, pa.Array]:
    """What a row is called, its split, and what must stay in one split.

    What is compared are hashes of 64 bits, which never leave this process: a million rows have two
    alike by chance once in thirty million times.
    """
    phrases = [_phrase(clip) if clip.phrase else None for clip in clips]
    return {
        "id": pa.array([clip.id for clip in clips], TEXT),
        "id_key": pa.array([hash(clip.id) for clip in clips], pa.int64()),
        "rank": pa.array([SPLIT_ORDER[clip.split] for clip in clips], pa.int8()),
        "recording_key": _hashes([clip.sha256 for clip in clips]),
        "phrase": pa.array(phrases, TEXT),
        "phrase_key": _hashes(phrases),
    } | _voices(clips)


def _voices(clips: Sequence[Clip | PackedClip]) -> dict[str, pa.Array]:
    """Who speaks, and the keys of those who do in the clips of each task that learns voices."""
    tasks: frozenset[Task] = frozenset().union(*(clip.targets for clip in clips))
    if tasks.isdisjoint(SPEAKER_TASKS):
        nobody = pa.array(np.full(len(clips), NO_KEY))
        keys = dict.fromkeys(SPEAKER_TASKS, nobody)
        speakers = pa.nulls(len(clips), TEXT)
    else:
        keys = {
            task: _hashes([clip.speaker if task in clip.targets else None for clip in clips])
            for task in SPEAKER_TASKS
        }
        speakers = pa.array([clip.speaker for clip in clips], TEXT)
    return {"speaker": speakers} | {f"{task}_voice_key": found for task, found in keys.items()}


def _hashes(texts: Sequence[str | None]) -> pa.Array:
    return pa.array([hash(text) if text else NO_KEY for text in texts], pa.int64())


def _phrase(clip: Clip | PackedClip) -> str | None:
    """Phrases of one kind are compared: the word "dog" and the sound "dog" are two things.

    Digits, questions and commands repeat their few sentences in every split on purpose: what is
    held out there is the voice.
    """
    if clip.kind == "speech":
        is_tested = "asr" in clip.targets or "s2tt" in clip.targets
    else:
        is_tested = clip.kind in ("sound", "note")
    return f"{clip.kind} '{clip.phrase}'" if is_tested else None


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
