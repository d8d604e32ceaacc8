"""Reads the rows of Arrow files of Hugging Face data sets, and where their recordings lie."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pyarrow as pa

from tasks.sources.corpus_files import CorpusError

LOCATION = "location of the audio"
"""Key beside the names of columns."""


def arrow_rows(path: str, audio: str) -> Iterator[dict[str, Any]]:
    """Yield all columns but the audio's, and the audio's location: in this very file, or beside it.

    The file is mapped, not read: the address of a value gives its offset in the file.

    Raises:
        CorpusError: the file is no such stream, or its audio is no struct of bytes and path.
    """
    try:
        with pa.memory_map(path) as mapped:
            whole = mapped.read_buffer()
            for batch in pa.ipc.open_stream(whole):
                others = batch.drop_columns([audio]).to_pylist()
                locations = _locations(batch.column(audio), whole, path)
                for row, location in zip(others, locations, strict=True):
                    yield row | {LOCATION: location}
    except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path} is no Arrow stream of this data set: {error}. Save it again."
        ) from error


def _locations(column: Any, whole: Any, path: str) -> Iterator[dict[str, Any] | None]:
    """Location of each recording of a column of structs {bytes, path}; None where there is none."""
    fields = (
        {field.name: field.type for field in column.type} if pa.types.is_struct(column.type) else {}
    )
    if fields.get("bytes") not in (pa.binary(), pa.large_binary()) or "path" not in fields:
        raise CorpusError(
            f"{path} holds audio as {column.type}; wanted is a struct of bytes and path, as "
            "`cast_column(NAME, datasets.Audio())` makes it. Save the data set again so."
        )
    contents, paths = column.field("bytes"), column.field("path").to_pylist()
    wide = pa.types.is_large_binary(contents.type)
    _, offsets, values = contents.buffers()
    bounds = pa.Array.from_buffers(
        pa.int64() if wide else pa.int32(),
        len(contents) + 1,
        [None, offsets],
        offset=contents.offset,
    ).to_pylist()
    is_there = contents.is_valid().to_pylist()
    for there, outside, (start, end) in zip(is_there, paths, pairwise(bounds), strict=True):
        if there and end > start:
            begin = values.address + start - whole.address
            if not 0 <= begin < whole.size:
                raise CorpusError(f"{path} is compressed. Save the data set without compression.")
            yield {"audio": path, "begin_byte": begin, "num_bytes": end - start}
        else:
            yield {"audio": outside} if outside else None
