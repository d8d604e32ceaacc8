"""A plain folder of recordings: `NAME.txt` beside `NAME.wav` holds what is said in it."""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from data_contracts.jsonl import explain
from data_contracts.records import Clip, Rejected

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".g722", ".gsm"}
)
_MAX_TRANSCRIPT_BYTES = 1 << 16


def folder_rows(root: Path) -> Iterator[Clip | Rejected]:
    """Yield a row for each recording below a folder, in the order of their paths."""
    for path in _walk(root):
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            yield _labelled_by_path(path, name)
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


def _labelled_by_path(path: Path, name: str) -> Clip:
    """Return the row of a recording in a folder, with its transcript and its language.

    Raises:
        ValueError: there is no transcript, or it is not UTF-8, or the name can't be an id.
    """
    transcript = path.with_suffix(".txt")
    if not transcript.is_file():
        raise ValueError(f"there is no transcript {transcript.name} beside the recording")
    if transcript.stat().st_size > _MAX_TRANSCRIPT_BYTES:
        raise ValueError(
            f"transcript {transcript.name} has over {_MAX_TRANSCRIPT_BYTES} bytes: no text of one "
            "recording"
        )
    try:
        text = transcript.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"transcript {transcript.name} is not UTF-8 text: {error}") from error
    first, *below = name.split("/")
    is_language = bool(below) and (first == "yue" or (len(first) == 2 and first.isalpha()))
    return Clip(
        id=name,
        audio=str(path),
        targets={"asr": text},
        language=first if is_language else None,
        source="folder",
    )
