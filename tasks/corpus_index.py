"""The index of a finished corpus without its rows in memory.

A million rows as objects are gigabytes, in every worker again. Here the index stays the JSONL file
that it is, mapped into memory, with one offset a line and one hash an id; a row is parsed when it
is asked for.
"""

import json
import mmap
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from tempfile import TemporaryFile
from typing import IO, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from data_contracts.records import PackedClip, RecordError, explain
from infra.store import Store
from tasks.shards import INDEX

_ID_FIRST = re.compile(rb'\{"id":"([^"\\]+)"')
"""How a row begins as we write it; ids with escapes are left to the JSON parser."""
_SCANNED_BYTES = 1 << 20


class CorpusIndex(Sequence[PackedClip]):
    """The rows in the order of the index; pickles as its place."""

    def __init__(self, corpus: Store) -> None:
        """Map the index and find its lines.

        Raises:
            MissingFileError: the corpus is not finished.
        """
        self.corpus = corpus
        self._data = _mapped(corpus)
        self._starts = _line_starts(self._data)

    def __reduce__(self) -> tuple[type["CorpusIndex"], tuple[Store]]:
        return CorpusIndex, (self.corpus,)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, number: int) -> PackedClip: ...
    @overload
    def __getitem__(self, number: slice) -> list[PackedClip]: ...
    def __getitem__(self, number: int | slice) -> PackedClip | list[PackedClip]:
        """Parse rows.

        Raises:
            RecordError: a line is not a row; names the line.
        """
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        line = self.line(range(len(self))[number])
        try:
            return PackedClip.model_validate_json(line)
        except ValidationError as error:
            raise RecordError(
                f"{self.corpus.path(INDEX)} row {number + 1} is not a PackedClip: "
                f"{explain(error)}. Delete the corpus' folder to have it packed again."
            ) from error

    def line(self, number: int) -> bytes:
        """Row `number` as it stands in the file."""
        return self._data[self._starts[number] : self._starts[number + 1]]

    @property
    def by_id(self) -> Mapping[str, PackedClip]:
        """The rows by clip id."""
        return _ById(self)

    def find(self, clip_id: object) -> int | None:
        """The number of a clip's row; None where the corpus has no such clip."""
        hashes, order = self._hashes
        wanted = _hash(clip_id) if isinstance(clip_id, str) else None
        first = np.searchsorted(hashes, wanted) if wanted is not None else len(hashes)
        for place in range(int(first), len(hashes)):
            if hashes[place] != wanted:
                break
            if self.id(int(order[place])) == clip_id:
                return int(order[place])
        return None

    def id(self, number: int) -> str:
        """The clip id of row `number`."""
        start = self._starts[number]
        if found := _ID_FIRST.match(self._data, start):
            return found[1].decode()
        return str(json.loads(self.line(number))["id"])

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Hashes of all ids, sorted, and the rows that they belong to: 12 bytes a row."""
        count = len(self)
        hashes = np.fromiter((_hash(self.id(i)) for i in range(count)), np.int64, count)
        order = hashes.argsort().astype(np.int32)
        return hashes[order], order


class _ById(Mapping[str, PackedClip]):
    def __init__(self, index: CorpusIndex) -> None:
        self._index = index

    def __getitem__(self, clip_id: str) -> PackedClip:
        number = self._index.find(clip_id)
        if number is None:
            raise KeyError(clip_id)
        return self._index[number]

    def __contains__(self, clip_id: object) -> bool:
        return self._index.find(clip_id) is not None

    def __iter__(self) -> Iterator[str]:
        return (self._index.id(number) for number in range(len(self._index)))

    def __len__(self) -> int:
        return len(self._index)


def _hash(text: str) -> int:
    return hash(text)  # differs between processes, and never leaves one


def _mapped(corpus: Store) -> bytes | mmap.mmap:
    """The index file in memory that the system can take back; a remote one is copied once."""
    with corpus.open(INDEX) as stream:
        if corpus.is_local:
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
    """Where each line begins that holds something, and the end of the last."""
    view = np.frombuffer(data, np.uint8)
    ends = [
        np.flatnonzero(view[start : start + _SCANNED_BYTES] == ord("\n")) + start
        for start in range(0, len(view), _SCANNED_BYTES)
    ]
    starts = np.concatenate([[0], *[found + 1 for found in ends]])
    if starts[-1] != len(view):
        starts = np.append(starts, len(view))
    return starts[np.append(np.diff(starts) > 1, True)]
