"""Rows of Hugging Face data sets with audio: Parquet files, `save_to_disk`, a local hub cache.

https://huggingface.co/docs/datasets/audio_dataset. Nothing is downloaded: what a row holds is read
from the files that are there.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.recordings.locations import resolve
from tasks.sources.arrow_audio import LOCATION, arrow_rows
from tasks.sources.forms.clips import EMBEDDED
from tasks.sources.forms.flat import SPLITS
from tasks.sources.source_error import DataSourceError

_DICT, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"
_ROWS_AT_ONCE = 1000


class DataSetRow(NamedTuple):
    """One row of a data set."""

    url: str
    """File that holds it."""
    name: str
    """Id of the row where it gives none."""
    values: dict[str, Any]
    """Columns by name; that of the audio is `EMBEDDED`."""
    location: Mapping[str, Any]
    """Fields of a clip that say where the audio is."""


class _File(NamedTuple):
    path: Path
    key: str
    """Path below the data set without its end, which ids begin with."""
    split: str | None
    features: Mapping[str, Any]


def is_data_set(url: str) -> bool:
    """Whether a path is a Parquet file, or a folder with the layout of a data set."""
    if "://" in url:
        return url.endswith(".parquet")
    path = Path(url)
    if path.name == _INFO:
        return (path.parent / _STATE).is_file()
    return url.endswith(".parquet") or path.name == _DICT or (path.is_dir() and _is_layout(path))


def data_set_rows(url: str, audio: str | None) -> Iterator[DataSetRow]:
    """Yield the rows of a data set, split by split, file by file.

    Args:
        audio: name of the column of the audio; None: the one of the type Audio.

    Raises:
        DataSourceError: a file is missing or damaged, or has no column of audio.
    """
    if "://" in url:
        raise DataSourceError(
            f"{url} is not on this machine: the files of data sets are mapped. Copy it to a folder."
        )
    for file in _files(Path(url)):
        try:
            is_arrow = file.path.suffix == ".arrow"
            rows = _arrow(file, audio) if is_arrow else _parquet(file, audio)
            for values, location in rows:
                number = values.pop(_NUMBER)
                values = _with_names(values, file.features)
                if file.split and "split" not in values:
                    values["split"] = file.split
                if location:
                    outside = resolve(str(file.path.parent), location["audio"])
                    location = {**location, "audio": outside}
                name = f"{file.key}/{number:06d}"
                yield DataSetRow(str(file.path), name, values, location)
        except (OSError, pa.ArrowException) as error:
            raise DataSourceError(
                f"{str(file.path)!r} is no whole file of a data set: {error}. Save it again."
            ) from error


_NUMBER = "number of the row"
"""Key beside the names of columns."""


def _is_layout(folder: Path) -> bool:
    marks = (_DICT, _STATE, "snapshots")
    return any((folder / mark).exists() for mark in marks) or bool(_parquet_files(folder))


def _files(path: Path) -> Iterator[_File]:
    """Find the files of a data set in the order of their splits and names."""
    if path.name in (_INFO, _DICT):
        path = path.parent
    if path.is_file() or path.suffix == ".parquet":
        yield _File(path, path.stem, None, {})
        return
    if (path / "snapshots").is_dir():
        path = _snapshot(path)
    if (path / _DICT).is_file():
        for split in _object(path / _DICT).get("splits") or []:
            yield from _saved(path / str(split), str(split))
    elif (path / _STATE).is_file():
        yield from _saved(path, None)
    else:
        for file in _parquet_files(path):
            key = file.relative_to(path).with_suffix("").as_posix()
            yield _File(file, key, _split_of(key), {})


def _saved(folder: Path, split: str | None) -> Iterator[_File]:
    """Files of a `Dataset` that `save_to_disk` wrote."""
    state = _object(folder / _STATE)
    if state.get("_indices_data_files"):
        raise DataSourceError(
            f"{str(folder)!r} names indices beside the rows. Save it again: "
            "`load_from_disk(OLD).flatten_indices().save_to_disk(NEW)`."
        )
    features = _object(folder / _INFO).get("features")
    split = split or state.get("_split")
    for data_file in state.get("_data_files") or []:
        path = folder / str(data_file["filename"])
        key = f"{split}/{path.stem}" if split else path.stem
        yield _File(path, key, SPLITS.get(split or ""), features or {})


def _snapshot(cache: Path) -> Path:
    """Return the folder of the commit that `refs/main` names, else of the only one."""
    ref = cache / "refs" / "main"
    if ref.is_file():
        return cache / "snapshots" / ref.read_text().strip()
    commits = sorted((cache / "snapshots").iterdir())
    if len(commits) != 1:
        raise DataSourceError(
            f"{str(cache)!r} has {len(commits)} snapshots and no refs/main: name one of them."
        )
    return commits[0]


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.parquet") if path.is_file())


def _split_of(key: str) -> str | None:
    """Split of a file by its name or its folder, such as train-00000-of-00002."""
    for part in reversed(key.split("/")):
        name = part.partition("-")[0].partition(".")[0]
        if name in SPLITS:
            return SPLITS[name]
    return None


def _object(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataSourceError(f"{str(path)!r} can't be read: {error}. Save it again.") from error
    if not isinstance(document, dict):
        raise DataSourceError(f"{str(path)!r} is no JSON object. Save the data set again.")
    return document


def _arrow(file: _File, audio: str | None) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    column = audio or _audio_column(file, file.features)
    for number, row in enumerate(arrow_rows(str(file.path), column)):
        location = row.pop(LOCATION)
        marked = dict.fromkeys((column, "audio"), EMBEDDED if location else None)
        yield {**row, **marked, _NUMBER: number}, location or {}


def _parquet(file: _File, audio: str | None) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    parquet = pq.ParquetFile(file.path)
    schema = parquet.schema_arrow
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = info.get("info", {}).get("features") or {}
    column = audio or _audio_column(file, features, schema)
    if column not in schema.names:
        raise DataSourceError(
            f"{str(file.path)!r} has the columns {', '.join(schema.names)[:500]} and none named "
            f"{column}. Name the one of the audio: data.columns.audio."
        )
    kind = schema.field(column).type
    fields = [field.name for field in kind] if pa.types.is_struct(kind) else []
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    others = [name for name in schema.names if name != column]
    if "path" in fields or pa.types.is_string(kind):
        others.append(f"{column}.path" if fields else column)
    first = 0
    for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=others):
        for number, row in enumerate(batch.to_pylist(), start=first):
            value = row.pop(column, None)
            path = value.get("path") if isinstance(value, dict) else value
            location: Mapping[str, Any] = {}
            if is_bytes or ("bytes" in fields and not _is_outside(file.path, path)):
                cell = (f"{column}.bytes" if fields else column, number)
                location = {"audio": str(file.path), "cell": cell}
            elif path:
                location = {"audio": str(path)}
            values = _with_names(row, features)
            marked = dict.fromkeys((column, "audio"), EMBEDDED if location else None)
            yield {**values, **marked, _NUMBER: number}, location
        first += batch.num_rows


def _is_outside(file: Path, path: object) -> bool:
    """Whether a recording lies in a file of its own; else its bytes are in the row."""
    return isinstance(path, str) and bool(path) and (file.parent / path).is_file()


def _audio_column(file: _File, features: Mapping[str, Any], schema: Any = None) -> str:
    """Name of the column of the type Audio, or else of a struct of bytes and path.

    Raises:
        DataSourceError: there is none, or several.
    """
    names = [
        name
        for name, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "Audio"
    ]
    if not names and schema is not None:
        names = [
            field.name
            for field in schema
            if pa.types.is_struct(field.type) and {"bytes", "path"} <= {f.name for f in field.type}
        ]
    if len(names) != 1:
        columns = ", ".join(schema.names if schema is not None else features)[:500]
        raise DataSourceError(
            f"{str(file.path)!r} has {len(names) or 'no'} columns of audio among {columns}. Name "
            "the one that counts: data.columns.audio."
        )
    return str(names[0])


def _with_names(row: dict[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the numbers of class labels by their names."""
    for name, kind in features.items():
        labels = kind.get("names") if isinstance(kind, dict) else None
        if labels and isinstance(number := row.get(name), int) and 0 <= number < len(labels):
            row[name] = labels[number]
    return row
