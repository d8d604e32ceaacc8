"""Recordings of a plain folder, each with a text beside it: its transcript, or segments of it.

`NAME.txt` holds the transcript of `NAME.wav`, or Audacity's labels; without one, `NAME.TextGrid` or
`NAME.srt` holds segments.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from data_contracts.jsonl import explain
from data_contracts.records import Clip, Rejected
from tasks.recordings.segments import clips_of_segments
from tasks.sources.source_error import DataSourceError
from tasks.sources.timed_texts import TIMED, labels_of

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".g722", ".gsm"}
)
_MAX_TRANSCRIPT_BYTES = 1 << 16
_MAX_TIMED_BYTES = 1 << 24


def folder_rows(folder: str) -> Iterator[Clip | Rejected]:
    """Yield the recordings of a folder in the order of their paths; reject those without a text.

    Raises:
        DataSourceError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataSourceError(f"there is no folder {folder!r}. Give one with data.folder.")
    for path in _walk(root):
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            yield from _labelled_by_path(path, name)
        except ValueError as error:
            detail = explain(error) if isinstance(error, ValidationError) else str(error)
            # A name in another encoding than UTF-8 can't be written down as it is.
            spelled = name.encode("utf-8", "backslashreplace").decode()
            yield Rejected(id=spelled, reason="invalid_row", detail=detail)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all recordings below a folder in the order of their paths.

    Links to folders are not followed, so that a circle of them has an end.
    """
    with os.scandir(folder) as unsorted:
        entries = sorted(unsorted, key=lambda entry: entry.name)
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)
        elif path.suffix.lower() in AUDIO_SUFFIXES and entry.is_file():
            yield path


def _labelled_by_path(path: Path, name: str) -> list[Clip]:
    """Return the rows of a recording in a folder, with its texts and its language.

    Raises:
        ValueError: there is no text, or it can't be read, or the name can't be an id.
    """
    first, *below = name.split("/")
    is_language = bool(below) and (first == "yue" or (len(first) == 2 and first.isalpha()))
    language = first if is_language else None
    fields = {"id": name, "audio": str(path), "language": language, "source": "folder"}
    transcript = path.with_suffix(".txt")
    if not transcript.is_file():
        for suffix, segments_of in TIMED.items():
            timed = path.with_suffix(suffix)
            if timed.is_file():
                segments = segments_of(_bytes(timed, _MAX_TIMED_BYTES))
                return clips_of_segments(fields, "asr", segments)
        raise ValueError(f"there is no transcript {transcript.name} beside the recording")
    data = _bytes(transcript, _MAX_TRANSCRIPT_BYTES)
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"transcript {transcript.name} is not UTF-8 text: {error}") from error
    if labels := labels_of(text):
        return clips_of_segments(fields, "asr", labels)
    return [Clip.model_validate({**fields, "targets": {"asr": text}})]


def _bytes(path: Path, most: int) -> bytes:
    if path.stat().st_size > most:
        raise ValueError(f"transcript {path.name} has over {most} bytes: no text of one recording")
    return path.read_bytes()
