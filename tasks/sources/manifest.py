"""A user's data: a JSONL manifest of recordings, a plain folder, or public corpora.

Rows are streamed: nothing here holds more than one of them, so a source may have any size.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError, field_validator, model_validator

from data_contracts.digest import digest_of_each
from data_contracts.errors import DataError
from data_contracts.jsonl import explain
from data_contracts.recipe import Recipe
from data_contracts.records import Clip, NonEmpty, Rejected
from infra.storage.source_files import open_url
from tasks.recordings.decode import DecodeError
from tasks.recordings.locations import RefusedLocationError, check_location, resolve
from tasks.recordings.read import LastRead
from tasks.recordings.segments import clips_of_line
from tasks.sources.catalogue import CorpusSource, corpus_rows

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".g722", ".gsm"}
)
MAX_ROW_BYTES = 1 << 20
"""A row that is longer is refused unparsed: ten targets of 10,000 characters fit twice."""
_MAX_TRANSCRIPT_BYTES = 1 << 16


class DataSource(Recipe):
    """Where the recordings are: exactly one of a manifest, a folder and some corpora."""

    manifest: NonEmpty | None = None
    """Path or URL of a JSONL file; relative audio paths start from its folder."""
    folder: NonEmpty | None = None
    """Folder of recordings. `NAME.txt` beside `NAME.wav` holds its transcript; the first folder
    level is the language where it is a two-letter code."""
    corpora: tuple[CorpusSource, ...] = ()
    """Public corpora as they are published: tasks/corpora/."""

    @field_validator("manifest", "folder")
    @classmethod
    def _absolute(cls, place: str | None) -> str | None:
        """Workers, and whoever resumes, have other working directories."""
        if place:
            check_location(place)
        return str(Path(place).absolute()) if place and "://" not in place else place

    @model_validator(mode="after")
    def _exactly_one(self) -> "DataSource":
        if (self.manifest is not None) + (self.folder is not None) + bool(self.corpora) != 1:
            names = [corpus.name for corpus in self.corpora]
            raise ValueError(
                f"data has manifest={self.manifest!r}, folder={self.folder!r} and corpora={names}; "
                "give exactly one"
            )
        return self


class DataSourceError(DataError, ValueError):
    """The manifest or folder can't be used as it is."""


@dataclass(frozen=True)
class Manifest:
    """The rows of a source, with audio locations resolved, and the lines that are no rows."""

    clips: tuple[Clip, ...]
    rejected: tuple[Rejected, ...]

    @property
    def num_records(self) -> int:
        """All records that came in."""
        return len(self.clips) + len(self.rejected)


def iter_source(source: DataSource) -> Iterator[Clip | Rejected]:
    """The rows of a source in their order, and what is no row in its place.

    Raises:
        DataSourceError: nothing is there, or it holds no record.
    """
    if source.corpora:
        rows = _iter_corpora(source.corpora)
    elif source.manifest:
        rows = _iter_manifest(source.manifest)
    else:
        rows = _iter_folder(source.folder or "")
    first = next(rows, None)
    if first is None:
        raise DataSourceError(
            f"{_name(source)} holds no recordings. A manifest has one JSON "
            f"object a line; a folder has files named *{', *'.join(sorted(AUDIO_SUFFIXES))}."
        )
    yield first
    yield from rows


def read_source(source: DataSource) -> Manifest:
    """All rows of a source that fits into memory.

    Raises:
        DataSourceError: as of `iter_source`.
    """
    rows = list(iter_source(source))
    return Manifest(
        tuple(row for row in rows if isinstance(row, Clip)),
        tuple(row for row in rows if isinstance(row, Rejected)),
    )


def source_digest(source: DataSource) -> str:
    """Identity of a source by content: its rows, and the digest of every audio file.

    A row that carries `sha256` is taken at its word here and checked when it is decoded, so that a
    large corpus need not be read to be planned. Where files lie does not matter.
    """
    bytes_of = LastRead()
    return digest_of_each(_identity(row, bytes_of) for row in iter_source(source))


def source_places(source: DataSource) -> tuple[str, ...]:
    """The folders or URLs that the places of a source's recordings are told from."""
    if source.corpora:
        return tuple(corpus.root.rstrip("/") for corpus in source.corpora)
    return (source.folder or _folder_of(source.manifest or ""),)


def _name(source: DataSource) -> str:
    return source.manifest or source.folder or ", ".join(corpus.root for corpus in source.corpora)


def _iter_corpora(sources: Iterable[CorpusSource]) -> Iterator[Clip | Rejected]:
    for source in sources:
        yield from corpus_rows(source)


def _identity(row: Clip | Rejected, bytes_of: LastRead) -> dict[str, object]:
    if isinstance(row, Rejected):
        return row.model_dump()
    name = PurePosixPath(row.audio).name
    sha256 = row.sha256 or _file_digest(row, bytes_of)
    return row.model_dump(exclude={"audio"}) | {"name": name, "sha256": sha256}


def _iter_manifest(url: str) -> Iterator[Clip | Rejected]:
    base = _folder_of(url)
    for number, line in _lines(url):
        if len(line) > MAX_ROW_BYTES:
            detail = f"longer than {MAX_ROW_BYTES} bytes: no row of one recording. Split it"
            yield Rejected(id=f"line {number}", reason="invalid_row", detail=detail)
            continue
        try:
            clips = clips_of_line(line)
        except ValidationError as error:
            yield Rejected(id=f"line {number}", reason="invalid_row", detail=explain(error))
            continue
        for clip in clips:
            try:
                check_location(clip.audio)
            except RefusedLocationError as error:
                yield Rejected(id=clip.id, reason="refused_url", detail=str(error))
                continue
            yield clip.model_copy(update={"audio": resolve(base, clip.audio)})


def _lines(url: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1; one too long is cut behind the most
    that a row may have.
    """
    number = 0
    try:
        with open_url(url) as stream:
            while line := stream.readline(MAX_ROW_BYTES + 1):
                number += 1
                rest = line
                while len(rest) > MAX_ROW_BYTES and not rest.endswith(b"\n"):
                    rest = stream.readline(MAX_ROW_BYTES + 1)
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # Windows editors begin with it
                if line.strip():
                    yield number, line.removesuffix(b"\n").decode()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataSourceError(
            f"there is no manifest {url!r}; a relative path starts from the working directory, "
            f"which is {str(Path.cwd())!r}. Give a JSONL file with --set data.manifest=PATH. The "
            "corpus of the profiles demo and tiny comes with q2a's repository: clone it, and run "
            "in its folder."
        ) from error
    except UnicodeDecodeError as error:
        raise DataSourceError(
            f"manifest {url!r} is not UTF-8 text in line {number}: {error}. Give a JSONL file, "
            "saved as UTF-8."
        ) from error
    except (OSError, ImportError) as error:
        raise DataSourceError(f"manifest {url!r} can't be read: {error}") from error


def _folder_of(url: str) -> str:
    return url.rsplit("/", 1)[0] if "/" in url else "."


def _iter_folder(folder: str) -> Iterator[Clip | Rejected]:
    root = Path(folder)
    if not root.is_dir():
        raise DataSourceError(f"there is no folder {folder!r}. Give one with data.folder.")
    for path in _walk(root):
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            yield _labelled_by_place(path, name)
        except ValueError as error:
            detail = explain(error) if isinstance(error, ValidationError) else str(error)
            # A name in another encoding than UTF-8 can't be written down as it is.
            spelled = name.encode("utf-8", "backslashreplace").decode()
            yield Rejected(id=spelled, reason="invalid_row", detail=detail)


def _walk(folder: Path) -> Iterator[Path]:
    """All recordings below a folder in the order of their paths; links to folders are not followed,
    so that a circle of them has an end.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)
        elif path.suffix.lower() in AUDIO_SUFFIXES and entry.is_file():
            yield path


def _labelled_by_place(path: Path, name: str) -> Clip:
    """The row of a recording in a folder, with its transcript and its language.

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


def _file_digest(clip: Clip, bytes_of: LastRead) -> str:
    """Content digest, or a mark for what can't be read: ingest will say what is wrong with it."""
    try:
        return bytes_of(clip)[1]
    except DecodeError as error:
        return error.reason
