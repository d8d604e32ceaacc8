"""Columns of clips, kept in a file that is mapped into memory.

A million rows take some hundred megabytes, and the tables of contracts need a part of them at a
time: the system may take the memory of the others back.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from data_contracts.audio_limits import MIN_SECONDS
from data_contracts.records import Clip, PackedClip, TaskName, answers_about_the_whole
from data_contracts.split_leaks import NO_KEY, RANK_BITS, SPEAKER_TASKS, SPLIT_ORDER, TEXT, Keys

AnyClip = TypeVar("AnyClip", Clip, PackedClip)

_DENSE_SCRIPTS = frozenset({"am", "cr", "ii", "iu", "ja", "ko", "oj", "ti", "yue", "zh"})
"""Languages whose characters are words or syllables: they have no common speaking rate. An unknown
language may be one of them."""
_ROWS_AT_ONCE = 4096
"""Clips that are held while their columns are built."""


class _Fields(dict[str, list[Any]]):
    """Values of a field of some clips, collected when they are first asked for."""

    def __init__(self, clips: Sequence[Clip | PackedClip]) -> None:
        self._clips = [clip.__dict__ for clip in clips]

    def __missing__(self, name: str) -> list[Any]:
        return self.setdefault(name, [clip[name] for clip in self._clips])


def manifest_columns(clips: Iterable[Clip]) -> pa.Table:
    """Build the columns that the contract of a manifest needs."""
    return _spooled(clips, _of_manifest)


def index_columns(clips: Iterable[PackedClip], about_the_whole: Collection[str]) -> pa.Table:
    """Build the columns that the contract of a shard index needs.

    Args:
        about_the_whole: tasks whose answers account for all that is heard.
    """
    return _spooled(clips, partial(_of_index, about_the_whole))


def keys_of(columns: pa.Table, name: str) -> Keys:
    """Read a column of hashes into memory as keys."""
    hashes: Keys = columns[name].to_numpy()  # a copy, as the table has several pieces or is empty
    hashes = hashes if hashes.flags.writeable else hashes.copy()
    hashes &= ~RANK_BITS
    return hashes


def characters(clips: Sequence[PackedClip]) -> list[int | None]:
    """Number of characters of each transcript that has a speaking rate, else None."""
    return _characters(_Fields(clips))


def _spooled(
    clips: Iterable[AnyClip], make: Callable[[list[AnyClip]], dict[str, pa.Array]]
) -> pa.Table:
    """Collect the columns that `make` builds from a batch of clips; the clips are not held."""
    remaining = iter(clips)
    schema = pa.RecordBatch.from_pydict(make([])).schema
    with TemporaryFile() as file:  # it has no name, so a kill leaves nothing of it
        path = f"/proc/self/fd/{file.fileno()}"
        with pa.ipc.new_file(path, schema) as writer:
            while rows := list(islice(remaining, _ROWS_AT_ONCE)):
                writer.write_batch(pa.RecordBatch.from_pydict(make(rows), schema))
        # The mapping keeps the file after it is closed.
        return pa.ipc.open_file(pa.memory_map(path)).read_all()


def _of_manifest(clips: list[Clip]) -> dict[str, pa.Array]:
    fields = _Fields(clips)
    return {
        "language": pa.array(fields["language"], TEXT),
        "unlabelled": pa.array(
            [
                _text_without_language(targets) if language is None else None
                for targets, language in zip(fields["targets"], fields["language"], strict=True)
            ],
            TEXT,
        ),
        "empty": pa.array(
            [
                None if all(map(str.strip, targets.values())) else _empty_targets(targets)
                for targets in fields["targets"]
            ],
            TEXT,
        ),
        **_keys(fields),
    }


def _of_index(about_the_whole: Collection[str], clips: list[PackedClip]) -> dict[str, pa.Array]:
    fields = _Fields(clips)
    contents = zip(fields["sha256"], fields["targets"], strict=True)
    cuts = zip(clips, fields["cut_seconds"], strict=True)
    origins = zip(fields["id"], fields["origin"], strict=True)
    return {
        "offset": pa.array(fields["offset"], pa.int64()),
        "size": pa.array(fields["size"], pa.int64()),
        "num_samples": pa.array(fields["num_samples"], pa.int64()),
        "rms": pa.array(fields["rms"], pa.float64()),
        "clipped_share": pa.array(fields["clipped_share"], pa.float64()),
        "characters": pa.array(_characters(fields), pa.float64()),
        "cut_answers": pa.array(
            [_cut_answers(clip, about_the_whole) if cut else None for clip, cut in cuts], TEXT
        ),
        "content_key": pa.array(
            [hash((digest, frozenset(targets.items()))) for digest, targets in contents], pa.int64()
        ),
        "parts": pa.array(
            [None if origin == (name,) else origin for name, origin in origins], pa.list_(TEXT)
        ),
        **_keys(fields),
    }


def _keys(fields: _Fields) -> dict[str, pa.Array]:
    """Ids, splits, and the keys of whatever must stay in one split.

    Hashes of 62 bits are compared, which never leave this process: among a million rows two are
    equal by chance once in some million runs.
    """
    ids = fields["id"]
    phrases = [
        f"{kind} '{phrase}'" if phrase and _tests_phrase(kind, targets) else None
        for kind, phrase, targets in zip(
            fields["kind"], fields["phrase"], fields["targets"], strict=True
        )
    ]
    return {
        "id": pa.array(ids, TEXT),
        "id_key": pa.array(list(map(hash, ids)), pa.int64()),
        "rank": pa.array([SPLIT_ORDER[split] for split in fields["split"]], pa.int8()),
        "recording_key": _hashes(fields["sha256"]),
        "phrase": pa.array(phrases, TEXT),
        "phrase_key": _hashes(phrases),
    } | _voices(fields["speaker"], fields["targets"])


def _voices(
    speakers: Sequence[str | None], targets: Sequence[Mapping[TaskName, str]]
) -> dict[str, pa.Array]:
    """Who speaks, and the keys of those who do in the clips of each task that learns voices."""
    if frozenset().union(*targets).isdisjoint(SPEAKER_TASKS):
        nobody = pa.array(np.full(len(speakers), NO_KEY))
        return {
            "speaker": pa.nulls(len(speakers), TEXT),
            **{f"{task}_voice_key": nobody for task in SPEAKER_TASKS},
        }
    return {
        "speaker": pa.array(speakers, TEXT),
        **{
            f"{task}_voice_key": _hashes(
                [
                    speaker if task in served else None
                    for speaker, served in zip(speakers, targets, strict=True)
                ]
            )
            for task in SPEAKER_TASKS
        },
    }


def _hashes(texts: Sequence[str | None]) -> pa.Array:
    return pa.array([hash(text) if text else NO_KEY for text in texts], pa.int64())


def _characters(fields: _Fields) -> list[int | None]:
    return [
        None
        if (text := targets.get("asr")) is None or language is None or language in _DENSE_SCRIPTS
        else len(text)
        for targets, language in zip(fields["targets"], fields["language"], strict=True)
    ]


def _tests_phrase(kind: str, targets: Mapping[TaskName, str]) -> bool:
    """Phrases of one kind are compared: the word "dog" and the sound "dog" are two things.

    Digits, questions and commands repeat their few sentences in every split on purpose: what is
    held out there is the voice.
    """
    if kind == "speech":
        return "asr" in targets or "s2tt" in targets
    return kind in ("sound", "note")


def _text_without_language(targets: Mapping[TaskName, str]) -> str | None:
    """Say which text a clip has whose prompts would name the language that is spoken."""
    task = next((task for task in ("asr", "s2tt") if task in targets), None)
    return task and f"{task} text without a language"


def _empty_targets(targets: Mapping[TaskName, str]) -> str:
    return ", ".join(task for task, text in targets.items() if not text.strip())


def _cut_answers(clip: PackedClip, about_the_whole: Collection[str]) -> str | None:
    """Answers about the whole of a recording, where what was cut off could have been heard."""
    if clip.cut_seconds < MIN_SECONDS:
        return None
    answers = answers_about_the_whole(clip, about_the_whole)
    return f"{answers} of {clip.cut_seconds:.1f} s more" if answers else None
