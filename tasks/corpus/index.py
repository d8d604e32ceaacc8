"""Index of a finished corpus, by row number and by clip id, without its rows in memory."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import PackedClip
from infra.storage.store import Store
from tasks.corpus.mapped_records import MappedRecords
from tasks.corpus.shards import INDEX

_ID_FIRST = re.compile(rb'\{"id":"([^"\\]+)"')
"""Beginning of a row as `write_index` writes it; ids with escapes are left to the JSON parser."""


class CorpusIndex(MappedRecords[PackedClip]):
    """Rows of a corpus in the order of its index."""

    def __init__(self, corpus: Store) -> None:
        """Map the index into memory and locate its lines.

        Raises:
            MissingFileError: the corpus is not finished.
        """
        super().__init__(corpus, INDEX, PackedClip)
        self._corpus = corpus

    def __reduce__(self) -> tuple[Any, ...]:
        return CorpusIndex, (self._corpus,)

    @property
    def by_id(self) -> Mapping[str, PackedClip]:
        """Rows by clip id."""
        return _ById(self)

    def find(self, clip_id: object) -> int | None:
        """Return the number of a clip's row; None where the corpus has no such clip."""
        hashes, order = self._hashes
        wanted = _hash(clip_id) if isinstance(clip_id, str) else None
        first = np.searchsorted(hashes, wanted) if wanted is not None else len(hashes)
        for index in range(int(first), len(hashes)):
            if hashes[index] != wanted:
                break
            if self.id(int(order[index])) == clip_id:
                return int(order[index])
        return None

    def id(self, number: int) -> str:
        """Return the clip id of row `number`."""
        start = self._starts[number]
        if match := _ID_FIRST.match(self._data, start):
            return match[1].decode()
        return str(json.loads(self.line(number))["id"])

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Hashes of all ids, sorted, and the numbers of their rows: 12 bytes a row."""
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
