"""What all shards gave, behind one another: on local disk, mapped, so that memory stays flat."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import PackedClip
from tasks.corpus.shards import ShardRows
from tasks.hygiene.disk_arrays import Spool
from tasks.hygiene.distributions import Spread
from tasks.hygiene.fingerprint_search import Prints
from tasks.hygiene.language import Identifier, Sample
from tasks.hygiene.same_recording import IDENTITY, Families
from tasks.hygiene.shard_features import Heard
from tasks.hygiene.text import BAND, SENTENCE, Texts

_SHARDS_KEPT = 16


class Recordings:
    """The rows of all recordings by number, read from the sidecars when they are asked for."""

    def __init__(self, found: ShardRows, starts: Sequence[int], places: NDArray[np.int32]) -> None:
        """Of recordings that lie at `places` of their shards, the first of each at `starts`."""
        self._starts = np.array(starts)
        self._places = places
        self._shard = lru_cache(_SHARDS_KEPT)(lambda number: list(found.shard(number)))

    def __getitem__(self, number: int) -> PackedClip:
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        row: PackedClip = self._shard(shard)[self._places[number]]
        return row

    def of(self, numbers: Iterable[int]) -> dict[int, PackedClip]:
        """The rows of some recordings by number; each shard is read once."""
        return {number: self[number] for number in sorted(set(numbers))}


class Gathered:
    """All that was heard of a corpus."""

    def __init__(self, found: ShardRows, folder: Path) -> None:
        """Gather what was kept of every shard in files below `folder`, left to be deleted."""
        folder = folder / "gathered"
        folder.mkdir()
        places, hops = Spool(folder / "places", "i4"), Spool(folder / "starts", "i8")
        known = Spool(folder / "identities", IDENTITY)
        bits, words = Spool(folder / "bits", "u4"), Spool(folder / "words", "u1")
        sentences, bands = Spool(folder / "sentences", SENTENCE), Spool(folder / "bands", BAND)
        self.spread = Spread()
        sample = Sample()
        starts = []
        hops.add(np.zeros(1, np.int64))
        for number in range(found.num_shards):
            heard = Heard.load(found.directory, number)
            starts.append(len(places))
            heard.sentences["recording"] += len(places)
            for field in ("begin", "end"):
                heard.sentences[field] += len(words)
            heard.bands["sentence"] += len(sentences)
            hops.add(len(bits) + np.cumsum(heard.hops))
            places.add(heard.places)
            bits.add(heard.bits)
            known.add(heard.identities)
            words.add(heard.words)
            sentences.add(heard.sentences)
            bands.add(heard.bands)
            self.spread.add(heard)
            for language, texts in heard.sample.items():
                sample.add(language, texts)
        self.recordings = Recordings(found, starts, places.mapped())
        self.families = Families(known.mapped(), folder / "families")
        self.prints = Prints(bits.mapped(), hops.mapped(), self.families.twins)
        self.texts = Texts(words.mapped(), sentences.mapped(), bands.mapped())
        self.identifier = Identifier(sample.texts())
