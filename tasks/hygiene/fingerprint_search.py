"""Recordings that share sound, found without comparing all pairs.

An inverted index: equal sub-fingerprints of two recordings propose the pair and how far one is
shifted; the bit error rate over all they then have in common decides. The index is made part by
part on disk, so memory does not grow with the corpus.

Of N sub-fingerprints about N^2 / 2^23 pairs are equal by chance. So the larger the corpus, the more
bits of the sub-fingerprint 120 ms later belong to the key: one for each doubling. Chance then
proposes about as many pairs a recording in every corpus, and the work grows with its size and not
with the square.
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
"""Below 2^19 sub-fingerprints, three hours, the key is one of them alone."""
_LATER = 6
"""Hops to the sub-fingerprint that lengthens a key: closer ones are too much alike."""
_POSTING = np.dtype([("key", "<u8"), ("place", "<i8")])
_FOUND = np.dtype(
    [("key", "<u8"), ("first", "<i8"), ("second", "<i8"), ("offset", "<i8"), ("bit_error", "<f8")]
)
"""A `Match`, by a hash of its recordings."""
_MIX = np.uint64(0xD6E8FEB86659FD93)
"""Odd: so that products of different numbers differ."""
_HOPS_AT_ONCE = 250_000
_PROPOSALS_AT_ONCE = 1_000_000
_HOPS_PER_BATCH = 1_000_000


@dataclass(frozen=True)
class Prints:
    """The fingerprints of many recordings behind one another."""

    bits: NDArray[np.uint32]
    starts: NDArray[np.int64]
    """Where each recording begins in `bits`; one more entry for the end."""
    twins: NDArray[np.int64]
    """A recording that speaks for each, mostly itself; no other is proposed."""

    @classmethod
    def join(cls, prints: Sequence[NDArray[np.uint32]]) -> "Prints":
        """Of one array a recording."""
        lengths = [len(found) for found in prints]
        bits = np.concatenate(prints) if prints else np.zeros(0, np.uint32)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(bits, starts, np.arange(len(prints)))

    def lengths(self, recordings: NDArray[np.int64]) -> NDArray[np.int64]:
        """Hops of some recordings."""
        found: NDArray[np.int64] = self.starts[recordings + 1] - self.starts[recordings]
        return found


class Match(NamedTuple):
    """Two recordings that agree where one is shifted against the other."""

    first: int
    second: int
    offset: int
    """Hop of `first` at which `second` begins; may be negative."""
    bit_error: float
    """Share of differing bits over what they have in common."""


class _Proposals(NamedTuple):
    """Pairs to be compared, as columns."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    offset: NDArray[np.int64]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "_Proposals":
        return _Proposals(self.first[rows], self.second[rows], self.offset[rows])


def extra_bits(num_hops: int) -> int:
    """How many bits of a later sub-fingerprint a key has in a corpus of so many."""
    return min(NUM_BITS, max(0, num_hops.bit_length() - _CHANCE_BITS))


def find_matches(
    prints: Prints, folder: Path, max_bit_error: float, min_overlap: float
) -> Iterator[Match]:
    """Pairs of recordings with at most `max_bit_error`, each once, at its best offset.

    Args:
        folder: where the index is made; left to be deleted.
        min_overlap: share of the shorter recording that both must have in common.
    """
    found = Parted(folder / "matches", _FOUND, len(prints.starts))
    for proposed in _proposals(prints, _index(prints, folder)):
        for batch in _batches(prints, proposed, min_overlap):
            errors = _bit_errors(prints, batch)
            close = errors <= max_bit_error
            rows = np.empty(int(close.sum()), _FOUND)
            rows["first"], rows["second"], rows["offset"] = batch.take(close)
            rows["bit_error"] = errors[close]
            rows["key"] = rows["first"].astype(np.uint64) * _MIX + rows["second"].astype(np.uint64)
            found.add(rows)
    for part in found:
        ordered = part[np.argsort(part, order=("first", "second", "bit_error", "offset"))]
        _, best = np.unique(ordered[["first", "second"]], return_index=True)
        yield from (Match(*row[1:]) for row in ordered[best].tolist())


def _index(prints: Prints, folder: Path) -> Parted:
    """All places, by key."""
    index = Parted(folder / "index", _POSTING, len(prints.bits))
    more = extra_bits(len(prints.bits))
    later = _LATER if more else 0
    for start in range(0, len(prints.bits), _HOPS_AT_ONCE):
        words = prints.bits[start : start + _HOPS_AT_ONCE + later].astype(np.uint64)
        places = np.arange(start, min(start + _HOPS_AT_ONCE, len(prints.bits) - later))
        following = np.searchsorted(prints.starts, places, side="right")
        # A recording's last hops have no later one of their own.
        indexed = places + later < prints.starts[following]
        indexed &= prints.twins[following - 1] == following - 1
        # A hop without a bit is silence, of which there may be any amount under one key.
        places = places[indexed & (words[places - start] != 0)]
        extra = words[places - start + later] & np.uint64((1 << more) - 1)
        rows = np.empty(len(places), _POSTING)
        rows["key"] = words[places - start] | extra << np.uint64(NUM_BITS)
        rows["place"] = places
        index.add(rows)
    return index


def _proposals(prints: Prints, index: Parted) -> Iterator[_Proposals]:
    """Pairs of which a key is equal, in portions."""
    for part in index:
        rows = part[np.argsort(part["key"], kind="stable")]
        _, inverse, counts = np.unique(rows["key"], return_inverse=True, return_counts=True)
        rows = rows[(counts[inverse] > 1) & (counts[inverse] <= MOST_POSTINGS)]
        keys, places = rows["key"], rows["place"]
        recordings = np.searchsorted(prints.starts, places, side="right") - 1
        hops = places - prints.starts[recordings]
        waiting: list[_Proposals] = []
        for step in range(1, MOST_POSTINGS):
            same = np.nonzero(keys[step:] == keys[:-step])[0]
            if len(same) == 0:
                break
            # A stable sort keeps the order of recordings: the first of a pair comes first.
            same = same[recordings[same] != recordings[same + step]]
            offset = hops[same] - hops[same + step]
            waiting.append(_Proposals(recordings[same], recordings[same + step], offset))
            if sum(len(found.first) for found in waiting) >= _PROPOSALS_AT_ONCE:
                yield _distinct(waiting)
                waiting = []
        if waiting:
            yield _distinct(waiting)


def _distinct(proposals: Sequence[_Proposals]) -> _Proposals:
    joined = _Proposals(*map(np.concatenate, zip(*proposals, strict=True)))
    joined = joined.take(np.lexsort(joined[::-1]))
    new = np.ones(len(joined.first), bool)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in joined])
    return joined.take(new)


def _batches(prints: Prints, proposed: _Proposals, min_overlap: float) -> Iterator[_Proposals]:
    """The proposals with enough in common, in batches of bounded work."""
    shorter = np.minimum(prints.lengths(proposed.first), prints.lengths(proposed.second))
    least = np.maximum(MIN_HOPS, min_overlap * shorter)
    proposed = proposed.take(_common_hops(prints, proposed) >= least)
    batch = np.cumsum(_common_hops(prints, proposed)) // _HOPS_PER_BATCH
    for rows in np.split(np.arange(len(batch)), np.nonzero(np.diff(batch))[0] + 1):
        if len(rows):
            yield proposed.take(rows)


def _common_hops(prints: Prints, proposed: _Proposals) -> NDArray[np.int64]:
    first, second, offset = proposed
    end: NDArray[np.int64] = np.minimum(prints.lengths(first), offset + prints.lengths(second))
    return end - np.maximum(offset, 0)


def _bit_errors(prints: Prints, proposed: _Proposals) -> NDArray[np.float64]:
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
