"""Reads the clips of a corpus by offset: in any order, from any position, in any thread."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock

import numpy as np

from data_contracts.digest import digest_of_bytes
from data_contracts.records import PackedClip
from infra.storage.store import Store
from infra.storage.transfer import EndsTooEarlyError
from tasks.corpus.index import CorpusIndex
from tasks.recordings.codec import decode_audio

MAX_GAP_BYTES = 256 << 10
"""Largest gap between two clips that is read and thrown away instead of making two requests."""
MAX_RUN_BYTES = 64 << 20
"""Largest part of a shard that one request reads."""


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

    A clip costs one read of its own bytes, a range request where the store is remote; clips that
    are fetched together and lie together share one. The audio files that were used last are kept in
    memory, up to `cache_bytes`.
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
        return decode_audio(self.audio(clip_id))

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._rows  # Mapping would read and decode the clip to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, clip_id: str) -> PackedClip:
        """Return the index row of a clip."""
        return self._rows[clip_id]

    def audio(self, clip_id: str) -> bytes:
        """Read the audio file of a clip, in the codec of its shard.

        Raises:
            DamagedClipError: the bytes are not those that were packed; the message names the clip
                and its shard.
        """
        if (kept := self._kept(clip_id)) is not None:
            return kept
        row = self._rows[clip_id]
        try:
            data = self._corpus.read_range(row.shard, row.offset, row.size)
        except EndsTooEarlyError as error:
            raise DamagedClipError(row, self._corpus.path(row.shard)) from error
        if digest_of_bytes(data) != row.sha256:
            raise DamagedClipError(row, self._corpus.path(row.shard))
        self._keep(clip_id, data)
        return data

    def fetch(self, clip_ids: Sequence[str]) -> None:
        """Read clips that are needed soon, in few requests.

        A damaged clip is not kept, so that `audio` raises the error for it.
        """
        for run in _runs([self._rows[clip] for clip in clip_ids if self._kept(clip) is None]):
            begin, end = run[0].offset, run[-1].offset + run[-1].size
            try:
                with self._corpus.open(run[0].shard, begin, end) as stream:
                    for row in run:
                        stream.seek(row.offset)
                        audio = stream.read(row.size)
                        if digest_of_bytes(audio) == row.sha256:
                            self._keep(row.id, audio)
            except EndsTooEarlyError:
                continue  # some of its clips may be there all the same

    def _kept(self, clip_id: str) -> bytes | None:
        with self._lock:
            if clip_id in self._cache:
                self._cache.move_to_end(clip_id)
            return self._cache.get(clip_id)

    def _keep(self, clip_id: str, data: bytes) -> None:
        with self._lock:
            if clip_id not in self._cache:  # or another thread has read it too
                self._cache[clip_id] = data
                self._room -= len(data)
            while self._room < 0:
                _, dropped = self._cache.popitem(last=False)
                self._room += len(dropped)


def _runs(rows: Iterable[PackedClip]) -> Iterator[list[PackedClip]]:
    """Group rows that are read at once: one shard, small gaps, at most `MAX_RUN_BYTES`."""
    run: list[PackedClip] = []
    for row in sorted(rows, key=lambda row: (row.shard, row.offset)):
        if run and not (
            row.shard == run[0].shard
            and row.offset - (run[-1].offset + run[-1].size) <= MAX_GAP_BYTES
            and row.offset + row.size - run[0].offset <= MAX_RUN_BYTES
        ):
            yield run
            run = []
        run.append(row)
    if run:
        yield run
