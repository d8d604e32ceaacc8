"""Records of a JSONL file in the store, each parsed when it is asked for.

A million rows as objects take gigabytes, in every worker again. Here the file is mapped into
memory, with one offset per line.
"""

import mmap
import os
import shutil
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import from_json

from data_contracts.jsonl import RecordError, explain
from data_contracts.records import Record
from infra.storage.store import Store

R = TypeVar("R", bound=Record)

_SCANNED_BYTES = 1 << 20


class MappedRecords(Sequence[R]):
    """Lines of the file `key`, each a `record`; pickles as the location of the file."""

    def __init__(self, store: Store, key: str, record: type[R]) -> None:
        """Map the file into memory and locate its lines.

        Raises:
            MissingFileError: there is no such file.
        """
        self._location = (store, key, record)
        self._record = record
        self._name = store.path(key)
        self._data = _mapped(store, key)
        self._starts = _line_starts(self._data)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._location

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, number: int) -> R: ...
    @overload
    def __getitem__(self, number: slice) -> list[R]: ...
    def __getitem__(self, number: int | slice) -> R | list[R]:
        """Parse rows.

        Raises:
            RecordError: a line is not such a record; the message names its number.
        """
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        index = range(len(self))[number]
        try:
            return self._record.model_validate_json(self.line(index))
        except ValidationError as error:
            raise RecordError(
                f"{self._name} row {index + 1} is not a {self._record.__name__}: {explain(error)}. "
                "Delete the folder of this stage to have it made again."
            ) from error

    def line(self, number: int) -> bytes:
        """Bytes of row `number` as they stand in the file."""
        return self._data[self._starts[number] : self._starts[number + 1]]

    def raw(self, number: int) -> dict[str, Any]:
        """Fields of row `number`, unchecked: for a pass over all rows."""
        fields: dict[str, Any] = from_json(self.line(number))
        return fields


def _mapped(store: Store, key: str) -> bytes | mmap.mmap:
    """Map a file, so that the system can take the memory back; a remote file is copied once."""
    with store.open(key) as stream:
        if store.is_local:
            return _map(stream)
        with TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy, _SCANNED_BYTES)
            copy.flush()
            return _map(copy)


def _map(stream: IO[bytes]) -> bytes | mmap.mmap:
    if stream.seek(0, os.SEEK_END) == 0:
        return b""  # which mmap refuses
    return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _line_starts(data: bytes | mmap.mmap) -> NDArray[np.int64]:
    """Offset of each line that is not empty, and the end of the last one."""
    view = np.frombuffer(data, np.uint8)
    ends = [
        np.flatnonzero(view[start : start + _SCANNED_BYTES] == ord("\n")) + start
        for start in range(0, len(view), _SCANNED_BYTES)
    ]
    starts = np.concatenate([[0], *[positions + 1 for positions in ends]])
    if starts[-1] != len(view):
        starts = np.append(starts, len(view))
    lines: NDArray[np.int64] = starts[np.append(np.diff(starts) > 1, True)]
    return lines
