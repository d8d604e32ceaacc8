"""Policy for clips whose bytes are damaged when training reads them: stop, or skip and report.

A skipped clip is heard as silence of its length, and nothing that hears it is learnt from: its
answers are no labels. So the step keeps its shape on every worker, none runs out of audio, and the
loss, a mean over the labels of all workers, is the same on any number of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np
from pydantic import Field

from data_contracts.digest import digest_of
from data_contracts.jsonl import from_jsonl, to_jsonl
from data_contracts.recipe import Recipe
from data_contracts.records import PackedClip, Record
from infra.storage.store import Store
from tasks.corpus.reader import ClipReader, DamagedClipError
from tasks.corpus.shards import iter_index

_FOLDER = "damaged"
_log = logging.getLogger(__name__)


class DamagePolicy(Recipe):
    """What a damaged clip causes."""

    on_damaged: Literal["stop", "skip"] = "stop"
    """End the run, or train without what hears the clip and report it."""
    max_share: float = Field(0.001, ge=0, le=1)
    """Share of the corpus's clips that may be skipped, 0 to 1, and always one; more end it."""

    def skipping(self, directory: Store) -> "Skipping | None":
        """Return how a stage that writes to `directory` skips; None where damage ends the run."""
        return Skipping(directory, self.max_share) if self.on_damaged == "skip" else None


@dataclass(frozen=True)
class Skipping:
    """Where all workers note what they skip, and how much they may."""

    directory: Store
    max_share: float


class DamagedClip(Record):
    """A clip that was skipped."""

    id: str
    shard: str
    offset: int


class TooManyDamagedError(ValueError):
    """More clips are damaged than the policy allows to skip."""


class TrainingClips:
    """Reads the clips of a corpus under a policy, for several threads."""

    def __init__(self, reader: ClipReader, skipping: Skipping | None) -> None:
        self._reader = reader
        self._skipping = skipping
        self._known: set[str] = set()
        self._lock = Lock()

    def num_samples(self, clip_id: str) -> int:
        """Return the length at 16 kHz, by the index."""
        return self._reader.row(clip_id).num_samples

    def shard(self, clip_id: str) -> str:
        """Return the shard that holds the clip."""
        return self._reader.row(clip_id).shard

    def is_skipped(self, clip_id: str) -> bool:
        """Tell whether this worker has found the clip damaged before."""
        return clip_id in self._known

    def fetch(self, clip_ids: Sequence[str]) -> None:
        """Read clips that are needed soon, in few requests."""
        self._reader.fetch(clip_ids)

    def __getitem__(self, clip_id: str) -> np.ndarray:
        """Return the waveform, float32 [num_samples]; silence where the clip is skipped.

        Raises:
            DamagedClipError: the policy is to stop.
            TooManyDamagedError: too many were skipped, by all workers together.
        """
        try:
            return self._reader[clip_id]
        except DamagedClipError as error:
            if self._skipping is None:
                raise
            self._skip(error, self._skipping)
            return np.zeros(error.row.num_samples, np.float32)

    def _skip(self, error: DamagedClipError, skipping: Skipping) -> None:
        row = error.row
        with self._lock:
            if row.id in self._known:
                return
            _log.warning("skipped: %s", error)
            # One file a clip: however many workers find it, and however often, it counts once.
            skipping.directory.write_text(_key(row), _note(row, error.shard))
            count = len(skipping.directory.list_keys(_FOLDER))
            if count > max(1, skipping.max_share * len(self._reader)):
                raise TooManyDamagedError(
                    f"{count} of {len(self._reader)} clips are damaged, at last {row.id!r} in "
                    f"{error.shard}; damage.max_share allows {skipping.max_share:.2%}. Run "
                    "`q2a run` again: the ledger finds damaged shards and rebuilds them."
                ) from error
            self._known.add(row.id)


def skipped_clips(directory: Store, corpus: Store) -> list[DamagedClip]:
    """List what all workers have skipped so far.

    A note that was changed since a worker wrote it is made again from the row of its clip.
    """
    keys = set(directory.list_keys(_FOLDER))
    if not keys:
        return []
    skipped = []
    for row in iter_index(corpus):
        if (key := _key(row)) in keys:
            note = _note(row, corpus.path(row.shard))
            if directory.read_bytes(key) != note.encode():
                directory.write_text(key, note)
            skipped += from_jsonl(note, DamagedClip, key)
    return skipped


def _key(row: PackedClip) -> str:
    return f"{_FOLDER}/{digest_of(row.id)[:16]}.jsonl"


def _note(row: PackedClip, shard: str) -> str:
    return to_jsonl([DamagedClip(id=row.id, shard=shard, offset=row.offset)])
