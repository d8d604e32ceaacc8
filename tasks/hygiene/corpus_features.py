"""Features of all shards, concatenated in files on local disk and mapped, so memory stays flat."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import PackedClip
from tasks.corpus.shards import ShardRows
from tasks.hygiene.disk_arrays import Spool
from tasks.hygiene.distributions import Distributions
from tasks.hygiene.fingerprint_search import Fingerprints
from tasks.hygiene.language import Identifier, Sample
from tasks.hygiene.same_recording import IDENTITY, Families
from tasks.hygiene.shard_features import ShardFeatures
from tasks.hygiene.text import BAND, SENTENCE, Texts

_SHARDS_KEPT = 16


class Recordings:
    """The rows of all recordings by number, read from the sidecars when they are asked for."""

    def __init__(
        self, shards: ShardRows, starts: Sequence[int], positions: NDArray[np.int32]
    ) -> None:
        """Number the recordings of a corpus.

        Args:
            starts: number of the first recording of each shard.
            positions: [recordings], position of each among the clips of its shard.
        """
        self._starts = np.array(starts)
        self._positions = positions
        self._shard = lru_cache(_SHARDS_KEPT)(lambda number: list(shards.shard(number)))

    def __getitem__(self, number: int) -> PackedClip:
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        row: PackedClip = self._shard(shard)[self._positions[number]]
        return row

    def of(self, numbers: Iterable[int]) -> dict[int, PackedClip]:
        """Rows of some recordings by number; each shard is read once."""
        return {number: self[number] for number in sorted(set(numbers))}


class CorpusFeatures:
    """All that hygiene compares of a corpus."""

    def __init__(self, shards: ShardRows, folder: Path) -> None:
        """Gather the features of every shard in files below `folder`, left to be deleted."""
        folder = folder / "gathered"
        folder.mkdir()
        positions, hops = Spool(folder / "positions", "i4"), Spool(folder / "starts", "i8")
        known = Spool(folder / "identities", IDENTITY)
        bits, words = Spool(folder / "bits", "u4"), Spool(folder / "words", "u1")
        sentences, bands = Spool(folder / "sentences", SENTENCE), Spool(folder / "bands", BAND)
        self.distributions = Distributions()
        sample = Sample()
        starts = []
        hops.add(np.zeros(1, np.int64))
        for number in range(shards.num_shards):
            shard = ShardFeatures.load(shards.directory, number)
            starts.append(len(positions))
            shard.sentences["recording"] += len(positions)
            for field in ("begin", "end"):
                shard.sentences[field] += len(words)
            shard.bands["sentence"] += len(sentences)
            hops.add(len(bits) + np.cumsum(shard.hops))
            positions.add(shard.positions)
            bits.add(shard.bits)
            known.add(shard.identities)
            words.add(shard.words)
            sentences.add(shard.sentences)
            bands.add(shard.bands)
            self.distributions.add(shard)
            for language, texts in shard.sample.items():
                sample.add(language, texts)
        self.recordings = Recordings(shards, starts, positions.mapped())
        self.families = Families(known.mapped(), folder / "families")
        self.prints = Fingerprints(bits.mapped(), hops.mapped(), self.families.twins)
        self.texts = Texts(words.mapped(), sentences.mapped(), bands.mapped())
        self.identifier = Identifier(sample.texts())
