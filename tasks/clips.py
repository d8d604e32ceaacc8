"""The clips of a corpus, read by offset: any order, any place to begin, any thread."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock

import numpy as np

from data_contracts.digest import digest_of_bytes
from data_contracts.records import PackedClip
from infra.store import Store
from tasks.corpus_index import CorpusIndex
from tasks.decode import decode_flac


class DamagedClipError(ValueError):
    """The bytes of a clip are not those that were packed."""

    def __init__(self, row: PackedClip, shard: str) -> None:
        self.row = row
        self.shard = shard
        super().__init__(
            f"clip {row.id!r} in {shard} at byte {row.offset} is damaged: its sha256 differs from "
            "the index. Run `q2a run` again: the ledger finds the damaged shard and rebuilds it."
        )

    def __reduce__(self) -> tuple[type["DamagedClipError"], tuple[PackedClip, str]]:
        return DamagedClipError, (self.row, self.shard)  # it crosses processes


class ClipReader(Mapping[str, np.ndarray]):
    """Waveforms of a corpus by clip id: float32 [num_samples] at 16 kHz.

    A clip costs one read of its own bytes, a range request where the store is remote. The
    `cache_bytes` most recently used FLAC files are kept in memory.
    """

    def __init__(
        self, corpus: Store, rows: Sequence[PackedClip], cache_bytes: int = 256 << 20
    ) -> None:
        self._corpus = corpus
        self._rows: Mapping[str, PackedClip] = (
            rows.by_id if isinstance(rows, CorpusIndex) else {row.id: row for row in rows}
        )
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._room = cache_bytes
        self._lock = Lock()

    def __getitem__(self, clip_id: str) -> np.ndarray:
        return decode_flac(self.flac(clip_id))

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._rows  # Mapping would read and decode the clip to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, clip_id: str) -> PackedClip:
        """The index row of a clip."""
        return self._rows[clip_id]

    def flac(self, clip_id: str) -> bytes:
        """The FLAC file of a clip.

        Raises:
            DamagedClipError: the bytes are not those that were packed; names the clip and its
                shard.
        """
        with self._lock:
            if clip_id in self._cache:
                self._cache.move_to_end(clip_id)
                return self._cache[clip_id]
        row = self._rows[clip_id]
        data = self._corpus.read_range(row.shard, row.offset, row.size)
        if digest_of_bytes(data) != row.sha256:
            raise DamagedClipError(row, self._corpus.path(row.shard))
        with self._lock:
            if clip_id not in self._cache:  # or another thread has read it too
                self._cache[clip_id] = data
                self._room -= len(data)
            while self._room < 0:
                _, dropped = self._cache.popitem(last=False)
                self._room += len(dropped)
        return data
