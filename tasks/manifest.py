"""A user's data: a JSONL manifest of recordings, a plain folder, or public corpora."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from data_contracts.digest import digest_of, digest_of_bytes
from data_contracts.records import Clip, NonEmpty, Rejected, explain
from tasks.corpora import CorpusSource, corpus_rows
from tasks.decode import DecodeError, read_audio

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".g722", ".gsm"}
)


class DataSource(BaseModel):
    """Where the recordings are: exactly one of a manifest, a folder and some corpora."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class DataSourceError(ValueError):
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


def read_source(source: DataSource) -> Manifest:
    """Read a manifest or scan a folder.

    Raises:
        DataSourceError: nothing is there, or it holds no record.
    """
    if source.corpora:
        manifest = _read_corpora(source.corpora)
    elif source.manifest:
        manifest = _read_manifest(source.manifest)
    else:
        manifest = _scan_folder(source.folder or "")
    if manifest.num_records == 0:
        raise DataSourceError(
            f"{_name(source)} holds no recordings. A manifest has one JSON "
            f"object a line; a folder has files named *{', *'.join(sorted(AUDIO_SUFFIXES))}."
        )
    return manifest


def source_digest(source: DataSource) -> str:
    """Identity of a source by content: its rows, and the digest of every audio file.

    A row that carries `sha256` is taken at its word here and checked when it is decoded, so that a
    large corpus need not be read to be planned. Where files lie does not matter.
    """
    manifest = read_source(source)
    rows = [
        clip.model_dump(exclude={"audio"})
        | {
            "name": PurePosixPath(clip.audio).name,
            "sha256": clip.sha256 or _file_digest(clip),
        }
        for clip in manifest.clips
    ]
    return digest_of({"rows": rows, "rejected": [r.model_dump() for r in manifest.rejected]})


def _name(source: DataSource) -> str:
    return source.manifest or source.folder or ", ".join(corpus.root for corpus in source.corpora)


def _read_corpora(sources: Iterable[CorpusSource]) -> Manifest:
    rows = [row for source in sources for row in corpus_rows(source)]
    return Manifest(
        tuple(row for row in rows if isinstance(row, Clip)),
        tuple(row for row in rows if isinstance(row, Rejected)),
    )


def _read_manifest(url: str) -> Manifest:
    try:
        with fsspec.open(url, "rb") as stream:
            text = stream.read().decode("utf-8-sig")  # Windows editors begin with a mark
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataSourceError(
            f"there is no manifest {url!r}. Give a JSONL file with --set data.manifest=PATH."
        ) from error
    except UnicodeDecodeError as error:
        raise DataSourceError(
            f"manifest {url!r} is not UTF-8 text: {error}. Give a JSONL file, saved as UTF-8."
        ) from error
    except (OSError, ValueError, ImportError) as error:
        raise DataSourceError(f"manifest {url!r} can't be read: {error}") from error
    base = url.rsplit("/", 1)[0] if "/" in url else "."
    clips: list[Clip] = []
    rejected: list[Rejected] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            clip = Clip.model_validate(json.loads(line))
        except (ValueError, RecursionError) as error:
            detail = explain(error) if isinstance(error, ValidationError) else str(error)
            rejected.append(Rejected(id=f"line {number}", reason="invalid_row", detail=detail))
            continue
        clips.append(clip.model_copy(update={"audio": _resolve(base, clip.audio)}))
    return Manifest(tuple(clips), tuple(rejected))


def _resolve(base: str, audio: str) -> str:
    is_url = "://" in audio or "::" in audio
    return audio if audio.startswith("/") or is_url else f"{base}/{audio}"


def _scan_folder(folder: str) -> Manifest:
    root = Path(folder)
    if not root.is_dir():
        raise DataSourceError(f"there is no folder {folder!r}. Give one with data.folder.")
    clips: list[Clip] = []
    rejected: list[Rejected] = []
    found = (path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    for path in sorted(path for path in found if path.is_file()):
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            clips.append(_labelled_by_place(path, name))
        except ValueError as error:
            detail = explain(error) if isinstance(error, ValidationError) else str(error)
            # A name in another encoding than UTF-8 can't be written down as it is.
            spelled = name.encode("utf-8", "backslashreplace").decode()
            rejected.append(Rejected(id=spelled, reason="invalid_row", detail=detail))
    return Manifest(tuple(clips), tuple(rejected))


def _labelled_by_place(path: Path, name: str) -> Clip:
    """The row of a recording in a folder, with its transcript and its language.

    Raises:
        ValueError: there is no transcript, or it is not UTF-8, or the name can't be an id.
    """
    transcript = path.with_suffix(".txt")
    if not transcript.is_file():
        raise ValueError(f"there is no transcript {transcript.name} beside the recording")
    try:
        text = transcript.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"transcript {transcript.name} is not UTF-8 text: {error}") from error
    first, *below = name.split("/")
    is_language = bool(below) and len(first) == 2 and first.isalpha()
    return Clip(
        id=name,
        audio=str(path),
        targets={"asr": text},
        language=first if is_language else None,
        source="folder",
    )


def _file_digest(clip: Clip) -> str:
    """Content digest, or a mark for what can't be read: ingest will say what is wrong with it."""
    try:
        return digest_of_bytes(read_audio(clip.audio, clip.begin_byte, clip.num_bytes))
    except DecodeError as error:
        return error.reason
