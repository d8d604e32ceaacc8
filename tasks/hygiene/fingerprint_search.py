"""Search for recordings with similar fingerprints, without comparing all pairs.

An inverted index: equal sub-fingerprints of two recordings propose the pair and how far one is
shifted; the bit error rate over all they then have in common decides. The index is made part by
part on disk, so memory does not grow with the corpus.

Of N sub-fingerprints about N^2 / 2^23 pairs are equal by chance. So the larger the corpus, the more
bits of the sub-fingerprint 120 ms later belong to the key: one for each doubling. Chance then
proposes about as many pairs per recording in every corpus, and the work grows linearly with its
size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.hygiene.disk_arrays import Parted
from tasks.hygiene.fingerprint import NUM_BITS

MIN_HOPS = 8
"""Sub-fingerprints that two recordings must have in common: 160 ms."""
MOST_POSTINGS = 64
"""Keys that occur more often propose nothing: silence, fading, steady tones."""
_CHANCE_BITS = 19
"""Below 2^19 sub-fingerprints (three hours) the key is a single one, without later bits."""
_LATER = 6
"""Hops to the sub-fingerprint that lengthens a key: closer ones are too much alike."""
_POSTING = np.dtype([("key", "<u8"), ("hop", "<i8")])
"""Index of a hop among those of all recordings, by its key."""
_MATCH = np.dtype(
    [("key", "<u8"), ("first", "<i8"), ("second", "<i8"), ("offset", "<i8"), ("bit_error", "<f8")]
)
"""A `Match`, by a hash of its recordings."""
_MIX = np.uint64(0xD6E8FEB86659FD93)
"""Odd, so that products of different numbers differ."""
_HOPS_AT_ONCE = 250_000
_PROPOSALS_AT_ONCE = 1_000_000
_HOPS_PER_BATCH = 1_000_000


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of many recordings, concatenated."""

    bits: NDArray[np.uint32]
    starts: NDArray[np.int64]
    """Index in `bits` where each recording begins; one more entry for the end."""
    twins: NDArray[np.int64]
    """For each recording the one that represents it, mostly itself; no other is proposed."""

    @classmethod
    def join(cls, prints: Sequence[NDArray[np.uint32]]) -> "Fingerprints":
        """Concatenate the fingerprints of recordings, one array each."""
        lengths = [len(bits) for bits in prints]
        bits = np.concatenate(prints) if prints else np.zeros(0, np.uint32)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(bits, starts, np.arange(len(prints)))

    def lengths(self, recordings: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of hops of some recordings."""
        hops: NDArray[np.int64] = self.starts[recordings + 1] - self.starts[recordings]
        return hops


class Match(NamedTuple):
    """Two recordings whose fingerprints agree at an offset."""

    first: int
    second: int
    offset: int
    """Hop of `first` at which `second` begins; may be negative."""
    bit_error: float
    """Share of differing bits where both overlap."""


class _Proposals(NamedTuple):
    """Pairs of recordings to be compared, and their offsets, as columns."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    offset: NDArray[np.int64]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "_Proposals":
        return _Proposals(self.first[rows], self.second[rows], self.offset[rows])


def extra_bits(num_hops: int) -> int:
    """Number of bits of a later sub-fingerprint that keys have in a corpus of `num_hops`."""
    return min(NUM_BITS, max(0, num_hops.bit_length() - _CHANCE_BITS))


def find_matches(
    prints: Fingerprints, folder: Path, max_bit_error: float, min_overlap: float
) -> Iterator[Match]:
    """Find pairs of recordings with at most `max_bit_error`, each once, at its best offset.

    Args:
        folder: for the files of the index; left to be deleted.
        min_overlap: share of the shorter recording that must overlap.
    """
    matches = Parted(folder / "matches", _MATCH, len(prints.starts))
    for proposed in _proposals(prints, _index(prints, folder)):
        for batch in _batches(prints, proposed, min_overlap):
            errors = _bit_errors(prints, batch)
            close = errors <= max_bit_error
            rows = np.empty(int(close.sum()), _MATCH)
            rows["first"], rows["second"], rows["offset"] = batch.take(close)
            rows["bit_error"] = errors[close]
            rows["key"] = rows["first"].astype(np.uint64) * _MIX + rows["second"].astype(np.uint64)
            matches.add(rows)
    for part in matches:
        ordered = part[np.argsort(part, order=("first", "second", "bit_error", "offset"))]
        _, best = np.unique(ordered[["first", "second"]], return_index=True)
        yield from (Match(*row) for row in ordered[best][list(Match._fields)].tolist())


def _index(prints: Fingerprints, folder: Path) -> Parted:
    """Index of all hops by key, without silent ones and without recordings that have a twin."""
    index = Parted(folder / "index", _POSTING, len(prints.bits))
    more = extra_bits(len(prints.bits))
    later = _LATER if more else 0
    for start in range(0, len(prints.bits), _HOPS_AT_ONCE):
        words = prints.bits[start : start + _HOPS_AT_ONCE + later].astype(np.uint64)
        hops = np.arange(start, min(start + _HOPS_AT_ONCE, len(prints.bits) - later))
        following = np.searchsorted(prints.starts, hops, side="right")
        # A recording's last hops have no later one of their own.
        indexed = hops + later < prints.starts[following]
        indexed &= prints.twins[following - 1] == following - 1
        # A hop without a bit is silence, of which there may be any amount under one key.
        hops = hops[indexed & (words[hops - start] != 0)]
        extra = words[hops - start + later] & np.uint64((1 << more) - 1)
        rows = np.empty(len(hops), _POSTING)
        rows["key"] = words[hops - start] | extra << np.uint64(NUM_BITS)
        rows["hop"] = hops
        index.add(rows)
    return index


def _proposals(prints: Fingerprints, index: Parted) -> Iterator[_Proposals]:
    """Pairs that share a key, in batches."""
    for part in index:
        rows = part[np.argsort(part["key"], kind="stable")]
        _, inverse, counts = np.unique(rows["key"], return_inverse=True, return_counts=True)
        rows = rows[(counts[inverse] > 1) & (counts[inverse] <= MOST_POSTINGS)]
        keys = rows["key"]
        recordings = np.searchsorted(prints.starts, rows["hop"], side="right") - 1
        hops = rows["hop"] - prints.starts[recordings]
        waiting: list[_Proposals] = []
        for step in range(1, MOST_POSTINGS):
            same = np.nonzero(keys[step:] == keys[:-step])[0]
            if len(same) == 0:
                break
            # A stable sort keeps the order of recordings: the first of a pair comes first.
            same = same[recordings[same] != recordings[same + step]]
            offset = hops[same] - hops[same + step]
            waiting.append(_Proposals(recordings[same], recordings[same + step], offset))
            if sum(len(batch.first) for batch in waiting) >= _PROPOSALS_AT_ONCE:
                yield _distinct(waiting)
                waiting = []
        if waiting:
            yield _distinct(waiting)


def _distinct(proposals: Sequence[_Proposals]) -> _Proposals:
    """Proposals joined and sorted, each once."""
    joined = _Proposals(*map(np.concatenate, zip(*proposals, strict=True)))
    joined = joined.take(np.lexsort(joined[::-1]))
    new = np.ones(len(joined.first), bool)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in joined])
    return joined.take(new)


def _batches(
    prints: Fingerprints, proposed: _Proposals, min_overlap: float
) -> Iterator[_Proposals]:
    """Proposals with enough overlap, in batches of bounded work."""
    shorter = np.minimum(prints.lengths(proposed.first), prints.lengths(proposed.second))
    least = np.maximum(MIN_HOPS, min_overlap * shorter)
    proposed = proposed.take(_common_hops(prints, proposed) >= least)
    batch = np.cumsum(_common_hops(prints, proposed)) // _HOPS_PER_BATCH
    for rows in np.split(np.arange(len(batch)), np.nonzero(np.diff(batch))[0] + 1):
        if len(rows):
            yield proposed.take(rows)


def _common_hops(prints: Fingerprints, proposed: _Proposals) -> NDArray[np.int64]:
    """Number of hops in which both recordings of each proposal overlap."""
    first, second, offset = proposed
    end: NDArray[np.int64] = np.minimum(prints.lengths(first), offset + prints.lengths(second))
    return end - np.maximum(offset, 0)


def _bit_errors(prints: Fingerprints, proposed: _Proposals) -> NDArray[np.float64]:
    """Share of differing bits of each proposal."""
    first, second, offset = proposed
    common = _common_hops(prints, proposed)
    ends = np.cumsum(common)
    within = np.arange(ends[-1]) - np.repeat(ends - common, common)
    begin = np.maximum(offset, 0)
    left = np.repeat(prints.starts[first] + begin, common) + within
    right = np.repeat(prints.starts[second] + begin - offset, common) + within
    wrong = np.bitwise_count(prints.bits[left] ^ prints.bits[right])
    return np.add.reduceat(wrong, ends - common, dtype=np.int64) / (common * NUM_BITS)
