"""Exports a corpus, or a manifest, in a form that another tool reads, with its recordings.

`OUT/SPLIT.jsonl` has the conversations; the labels of a clip become one for each of its tasks,
asked in the task's own words. `OUT/SPLIT-pairs.jsonl` has the preference pairs, `OUT/audio/` the
recordings. NeMo's transcripts and translations stand in `OUT/SPLIT-speech.jsonl`; it has no form
for pairs.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TextIO

import soundfile

from data_contracts.digest import digest_of
from data_contracts.errors import UsageError
from data_contracts.records import Clip, PackedClip, Rejected
from infra.storage.store import Store
from tasks.conversations.given import given_conversation
from tasks.conversations.prompts import evaluation_prompt
from tasks.conversations.task_table import TaskTable
from tasks.corpus.artifact import read_tasks
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader
from tasks.recordings.codec import encode_audio
from tasks.recordings.decode import DecodeError, decode
from tasks.recordings.read import LastRead
from tasks.sources.forms.writers import (
    WRITERS,
    AudioFile,
    Exported,
    FormName,
    Said,
    nemo_speech,
)
from tasks.sources.manifest import DataSource, DataSourceError, iter_source, source_tasks

_PAIRS, _SPEECH = "-pairs", "-speech"
_UNSAFE = re.compile(r"[^\w.-]+")
_MAX_NAME = 80
_ENDINGS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"\xff\xfb": "mp3"}
_INFO = "dataset_info.json"


class ExportError(UsageError, ValueError):
    """The folder of an export can't be used, or the form has no place for the data."""


class Exportable(Protocol):
    """Rows with their recordings."""

    tasks: TaskTable

    def rows(self) -> Iterator[PackedClip]:
        """All rows in their order, with what is known about them."""

    def audio(self, clip: str) -> bytes:
        """The file of a clip."""


class PackedCorpus:
    """A finished ingest artifact."""

    def __init__(self, corpus: Store) -> None:
        """Open the index of an artifact."""
        self.tasks = read_tasks(corpus)
        self._index = CorpusIndex(corpus)
        self._reader = ClipReader(corpus, self._index)

    def rows(self) -> Iterator[PackedClip]:
        """All packed clips."""
        return iter(self._index)

    def audio(self, clip: str) -> bytes:
        """The packed file of a clip."""
        return self._reader.audio(clip)


class SourceRows:
    """The rows of a manifest, which are held in memory. Files are exported as they are."""

    def __init__(self, source: DataSource) -> None:
        """Read the rows; those that are rejected are left out."""
        self.tasks = source_tasks(source)
        self._clips = {row.id: row for row in iter_source(source) if not isinstance(row, Rejected)}
        self._bytes_of = LastRead()

    def rows(self) -> Iterator[PackedClip]:
        """All rows, with what a packed clip says of itself."""
        return (_unpacked(clip) for clip in self._clips.values())

    def audio(self, clip: str) -> bytes:
        """The file of a clip, as it is; a part of one as FLAC with 16 kHz.

        Raises:
            DecodeError: it can't be read.
        """
        row = self._clips[clip]
        data, _ = self._bytes_of(row)
        if row.begin_seconds == 0 and row.end_seconds is None:
            return data
        part = decode(data, row.audio, 1e6, row.begin_seconds, row.end_seconds)
        return encode_audio(part.waveform, "flac")


def export(data: Exportable, form: FormName, out: Path) -> dict[str, int]:
    """Write all conversations and labels in a form; return the number of rows of each file.

    Raises:
        ExportError: `out` has files already, or nothing can be said in the form.
        DataSourceError: a recording can't be read, or a conversation names one that is no row.
    """
    if out.exists() and any(out.iterdir()):
        raise ExportError(f"{str(out)!r} has files already. Name a folder that is new or empty")
    counts: Counter[str] = Counter()
    files = _Files(data, out)
    with ExitStack() as stack:
        streams: dict[str, TextIO] = {}
        for name, row in _rows(data, form, files):
            if name not in streams:
                path = out / f"{name}.jsonl"
                streams[name] = stack.enter_context(path.open("w", encoding="utf-8"))
            streams[name].write(json.dumps(row, ensure_ascii=False) + "\n")
            counts[f"{name}.jsonl"] += 1
    if not counts:
        raise ExportError(f"nothing can be written in the form {form}: no conversation, no label")
    if form == "llama-factory":
        (out / _INFO).write_text(json.dumps(_sets(counts), indent=2) + "\n")
    return dict(counts)


class _Files:
    """Writes each recording once, below `audio/`."""

    def __init__(self, data: Exportable, out: Path) -> None:
        self._data, self._out = data, out
        self._files: dict[str, AudioFile] = {}

    def __call__(self, clip: str) -> AudioFile:
        if clip not in self._files:
            data = self._bytes(clip)
            ending = next((e for begin, e in _ENDINGS.items() if data.startswith(begin)), "audio")
            name = f"audio/{_file_name(clip)}.{ending}"
            path = self._out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._files[clip] = AudioFile(name, path, _seconds(data, path.name))
        return self._files[clip]

    def _bytes(self, clip: str) -> bytes:
        try:
            return self._data.audio(clip)
        except (KeyError, DecodeError) as error:
            why = "there is no such row" if isinstance(error, KeyError) else str(error)
            raise DataSourceError(
                f"the recording {clip!r} can't be exported: {why}. Repair it, or ingest the data "
                "and export the corpus, which leaves such rows out"
            ) from error


def _file_name(clip: str) -> str:
    """Name of a file that no other clip has, and that leads nowhere else."""
    safe = _UNSAFE.sub("_", clip).strip(".")[:_MAX_NAME]
    return safe if safe == clip else f"{safe}-{digest_of(clip)[:8]}"


def _seconds(data: bytes, name: str) -> float:
    try:
        return float(soundfile.info(io.BytesIO(data)).duration)
    except soundfile.LibsndfileError:
        return decode(data, name, 1e6).seconds


def _rows(data: Exportable, form: FormName, files: _Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows with the names of their files."""
    write = WRITERS[form]
    for clip in data.rows():
        if clip.conversation:
            is_pair = clip.rejected is not None
            if is_pair and form == "nemo":
                continue
            talk = _given(clip, files)
            yield f"{clip.split}{_PAIRS if is_pair else ''}", write(talk)
        for task, answer in clip.targets.items():
            if not answer:
                continue
            file = files(clip.id)
            name = f"{clip.id}/{task}" if len(clip.targets) > 1 else clip.id
            if form == "nemo" and task in ("asr", "s2tt"):
                about = clip.model_dump(include={"split", "language", "target_language"})
                yield f"{clip.split}{_SPEECH}", nemo_speech(name, file, task, answer, about)
                continue
            asked = evaluation_prompt(data.tasks, task, clip) if data.tasks[task].prompt else ""
            turns = (Said("user", asked, (file,)), Said("assistant", answer))
            yield clip.split, write(Exported(name, clip.split, clip.language, turns))


def _given(clip: PackedClip, files: _Files) -> Exported:
    turns = given_conversation(clip).turns
    messages = tuple(Said(t.role, t.text, tuple(map(files, t.audio))) for t in turns)
    return Exported(clip.id, clip.split, clip.language, messages, clip.rejected)


def _sets(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the `dataset_info.json` that names the files."""
    columns = {"messages": "conversations", "audios": "audios"}
    pairs = {"chosen": "chosen", "rejected": "rejected"}
    return {
        name.removesuffix(".jsonl"): {
            "file_name": name,
            "formatting": "sharegpt",
            "ranking": name.endswith(f"{_PAIRS}.jsonl"),
            "columns": columns | (pairs if name.endswith(f"{_PAIRS}.jsonl") else {}),
        }
        for name in counts
    }


def _unpacked(clip: Clip) -> PackedClip:
    """Return what the row of a manifest says, as a packed clip says it."""
    shared = clip.model_dump(include=PackedClip.model_fields.keys() - {"sha256"})
    return PackedClip.model_validate(
        {**shared, "shard": "-", "offset": 0, "size": 0, "num_samples": 0, "sha256": "", "rms": 0.0,
         "origin": (clip.id,)}
    )  # fmt: skip
