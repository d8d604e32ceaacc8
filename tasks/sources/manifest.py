"""A user's data: a manifest of recordings in any known form, a plain folder, or public corpora.

Rows are streamed: no more than one is in memory, so a source may have any size.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

from pydantic import Field, field_validator, model_validator

from data_contracts.digest import digest_of, digest_of_each
from data_contracts.languages import LANGUAGES
from data_contracts.recipe import Recipe
from data_contracts.records import Clip, NonEmpty, Rejected, TaskName
from infra.storage.source_files import open_url
from tasks.conversations.task_table import (
    Declared,
    TaskSpec,
    TaskTable,
    dump_tasks,
    parse_tasks,
    shipped_tasks,
)
from tasks.recordings.decode import DecodeError
from tasks.recordings.locations import check_location
from tasks.recordings.read import LastRead
from tasks.sources.catalogue import CorpusSource, corpus_rows
from tasks.sources.folder import AUDIO_SUFFIXES, folder_rows
from tasks.sources.manifest_rows import Understood, manifest_rows
from tasks.sources.source_error import DataSourceError
from tasks.sources.splits import DEFAULT_SHARES, MadeSplits, Shares, make_splits
from tasks.sources.tables import map_rows

__all__ = [
    "DataSource", "DataSourceError", "iter_source", "source_digest", "source_roots",
    "source_tasks", "understood_rows",
]  # fmt: skip

_TASKS_FILE = "tasks.yaml"


class DataSource(Recipe):
    """Location of the recordings: exactly one of a manifest, a folder and some corpora."""

    manifest: NonEmpty | None = None
    """Path or URL of a JSONL, JSON, CSV, TSV or Parquet file in a form of
    tasks/sources/forms/table.py, of LLaMA-Factory's `dataset_info.json`, or of the folder of a
    Hugging Face data set; relative audio paths start from its folder."""
    columns: dict[NonEmpty, NonEmpty] = Field(default={})
    """Columns of the manifest that have other names: `audio: FILE`, `targets.TASK: LABEL`."""
    folder: NonEmpty | None = None
    """Folder of recordings. `NAME.txt` beside `NAME.wav` holds its transcript; the first folder
    level is the language where it is a two-letter code. Without one, `NAME.TextGrid` or `NAME.srt`
    holds segments."""
    language: NonEmpty | None = None
    """ISO 639-1 code of what is spoken in rows with a transcript or translation that name no
    language. None: it is unknown, and no prompt names it."""
    splits: Shares = Field(default=DEFAULT_SHARES)
    """Shares of train, dev and test, which are made by speaker or content where no row of a
    manifest or folder names a split; `{train: 1}` makes none. Rows that name one are not moved."""
    corpora: tuple[CorpusSource, ...] = ()
    """Public corpora as they are published: tasks/sources/corpora/."""
    tasks: dict[TaskName, TaskSpec] = Field(default={})
    """Tasks that this data has besides the shipped ones, by name. Those of a file `tasks.yaml`
    beside the manifest, or in the folder, count too."""

    @field_validator("manifest", "folder")
    @classmethod
    def _absolute(cls, url: str | None) -> str | None:
        """Make a path absolute: workers, and later runs, have other working directories."""
        if url:
            check_location(url)
        return str(Path(url).absolute()) if url and "://" not in url else url

    @field_validator("language")
    @classmethod
    def _known(cls, code: str | None) -> str | None:
        if code is not None and code not in LANGUAGES:
            raise ValueError("use a two-letter code (or yue) of data_contracts/languages.py")
        return code

    @model_validator(mode="after")
    def _exactly_one(self) -> "DataSource":
        if (self.manifest is not None) + (self.folder is not None) + bool(self.corpora) != 1:
            names = [corpus.name for corpus in self.corpora]
            raise ValueError(
                f"data has manifest={self.manifest!r}, folder={self.folder!r} and corpora={names}; "
                "give exactly one"
            )
        if self.columns and not self.manifest:
            raise ValueError("data.columns names columns of a manifest, and none is given")
        return self


def iter_source(source: DataSource) -> Iterator[Clip | Rejected]:
    """Yield the rows of a source in their order, and a rejected record for each that is none.

    Raises:
        DataSourceError: nothing is there, or it holds no record.
        TaskError: a task is declared wrongly.
    """
    made = source_splits(source)
    yield from made.given_to(_rows(source)) if made else _rows(source)


def source_splits(source: DataSource) -> MadeSplits | None:
    """Divide the rows of a manifest or folder of which none names a split; None: there is no need.

    Raises:
        DataSourceError: like `iter_source`.
    """
    if source.corpora:
        return None  # they are published with their splits
    return make_splits((row for row in _rows(source) if isinstance(row, Clip)), source.splits)


def understood_rows(source: DataSource) -> Iterator[Understood]:
    """Yield the rows of a source with the name of the form that each has.

    Raises:
        DataSourceError: nothing is there that can be read.
    """
    if source.manifest:
        yield from manifest_rows(source.manifest, source.columns)
    elif source.folder:
        yield from (("folder", row) for row in folder_rows(source.folder))
    for corpus in source.corpora:
        yield from ((corpus.name, row) for row in corpus_rows(corpus))


def source_tasks(source: DataSource) -> TaskTable:
    """Return the tasks that the rows of a source may have: the shipped and the declared ones.

    Raises:
        TaskError: a declaration is wrong.
        DataSourceError: `tasks.yaml` can't be read.
    """
    return shipped_tasks().with_declared(_declared_tasks(source))


def source_digest(source: DataSource) -> str:
    """Return the identity of a source by content: rows, declared tasks, digest of every audio file.

    The `sha256` of a row is believed here and checked when the row is decoded, so that a large
    corpus need not be read to be planned. Paths and URLs do not matter.
    """
    bytes_of = LastRead()
    rows = digest_of_each(_identity(row, bytes_of) for row in iter_source(source))
    declared = _declared_tasks(source)
    return digest_of([rows, dump_tasks(declared)]) if declared else rows


def source_roots(source: DataSource) -> tuple[str, ...]:
    """Return the folders or URLs that the paths of a source's recordings are relative to."""
    if source.corpora:
        return tuple(corpus.root.rstrip("/") for corpus in source.corpora)
    return (source.folder or _folder_of(source.manifest or ""),)


def _declared_tasks(source: DataSource) -> Declared:
    """Return the tasks of the file beside the data, then those of the profile, which win."""
    if source.corpora:
        return source.tasks
    url = f"{source.folder or _folder_of(source.manifest or '')}/{_TASKS_FILE}"
    try:
        with open_url(url) as stream:
            text = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return source.tasks
    except PermissionError as error:
        if "://" in url:  # S3 refuses to say that a key is absent where nobody may list
            return source.tasks
        raise DataSourceError(f"{url!r} can't be read: {error}. Allow it, or remove it.") from error
    except (OSError, ImportError) as error:
        raise DataSourceError(
            f"{url!r} can't be read: {error}. Put an empty file there if you declare no task."
        ) from error
    return {**parse_tasks(text, url), **source.tasks}


def _rows(source: DataSource) -> Iterator[Clip | Rejected]:
    """Yield the rows with the splits that they name, `train` where they name none."""
    rows = (row for _, row in understood_rows(source))
    first = next(rows, None)
    if first is None:
        raise DataSourceError(
            f"{_name(source)} holds no recordings. A manifest has one JSON "
            f"object a line; a folder has files named *{', *'.join(sorted(AUDIO_SUFFIXES))}."
        )
    complete = partial(_completed, source_tasks(source), source.language)
    yield from map_rows(chain([first], rows), complete)


def _completed(tasks: TaskTable, language: str | None, clip: Clip) -> Iterator[Clip | Rejected]:
    """Give a row of speech the language that all have; reject one with labels that fit no task."""
    if problem := tasks.problem(clip):
        yield Rejected(id=clip.id, reason="invalid_row", detail=problem)
    elif language and clip.language is None and clip.targets.keys() & {"asr", "s2tt"}:
        yield clip.model_copy(update={"language": language})
    else:
        yield clip


def _name(source: DataSource) -> str:
    return source.manifest or source.folder or ", ".join(corpus.root for corpus in source.corpora)


def _identity(row: Clip | Rejected, bytes_of: LastRead) -> dict[str, object]:
    if isinstance(row, Rejected):
        return row.model_dump()
    name = PurePosixPath(row.audio).name
    sha256 = row.sha256 or _file_digest(row, bytes_of)
    return row.model_dump(exclude={"audio"}) | {"name": name, "sha256": sha256}


def _folder_of(url: str) -> str:
    return url.rsplit("/", 1)[0] if "/" in url else "."


def _file_digest(clip: Clip, bytes_of: LastRead) -> str:
    """Return the content digest, or the reason why a file can't be read, which ingest reports."""
    try:
        return bytes_of(clip)[1]
    except DecodeError as error:
        return error.reason
