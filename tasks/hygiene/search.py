"""Recordings that share sound, found without comparing all pairs.

An inverted index: equal sub-fingerprints of two recordings propose the pair and how far one is
shifted; the bit error rate over all they then have in common decides. The index is sorted arrays,
made for one part of the hash values at a time, so memory is the fingerprints plus one part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.hygiene.fingerprint import NUM_BITS

MIN_HOPS = 8
"""Sub-fingerprints that two recordings must have in common: 160 ms."""
MOST_POSTINGS = 64
"""Sub-fingerprints that occur more often propose nothing: silence, fading, steady tones."""
_POSTINGS_PER_PART = 4_000_000
_HOPS_PER_BATCH = 4_000_000


@dataclass(frozen=True)
class Prints:
    """The fingerprints of many recordings behind one another."""

    bits: NDArray[np.uint32]
    starts: NDArray[np.int64]
    """Where each recording begins in `bits`; one more entry for the end."""

    @classmethod
    def join(cls, prints: Sequence[NDArray[np.uint32]]) -> "Prints":
        """Of one array a recording."""
        lengths = [len(found) for found in prints]
        bits = np.concatenate(prints) if prints else np.zeros(0, np.uint32)
        return cls(bits, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Hops of each recording."""
        return np.diff(self.starts)


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


def find_matches(prints: Prints, max_bit_error: float, min_overlap: float) -> list[Match]:
    """Pairs of recordings with at most `max_bit_error`, each once, at its best offset.

    Args:
        min_overlap: share of the shorter recording that both must have in common.
    """
    best: dict[tuple[int, int], Match] = {}
    for part in _proposals(prints):
        for batch in _batches(prints, part, min_overlap):
            errors = _bit_errors(prints, batch)
            close = np.nonzero(errors <= max_bit_error)[0]
            columns = (*batch.take(close), errors[close])
            for match in map(Match._make, zip(*(c.tolist() for c in columns), strict=True)):
                known = best.get(match[:2])
                if known is None or match.bit_error < known.bit_error:
                    best[match[:2]] = match
    return [best[pair] for pair in sorted(best)]


def _proposals(prints: Prints) -> Iterator[_Proposals]:
    """Pairs with an equal sub-fingerprint, part by part of the index."""
    num_parts = -(-len(prints.bits) // _POSTINGS_PER_PART)
    part_of = prints.bits % np.uint32(max(num_parts, 1))
    span = int(prints.lengths.max(initial=0)) + 1
    count = len(prints.lengths)
    for part in range(num_parts):
        places = np.nonzero(part_of == part)[0]
        places = places[np.argsort(prints.bits[places], kind="stable")]
        hashes = prints.bits[places]
        _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        usable = (counts[inverse] > 1) & (counts[inverse] <= MOST_POSTINGS)
        places, hashes = places[usable], hashes[usable]
        clips = np.searchsorted(prints.starts, places, side="right") - 1
        hops = places - prints.starts[clips]
        found = [np.zeros(0, np.int64)]
        for step in range(1, MOST_POSTINGS):
            same = np.nonzero(hashes[step:] == hashes[:-step])[0]
            if len(same) == 0:
                break
            # A stable sort keeps the order of recordings: the first of a pair comes first.
            same = same[clips[same] != clips[same + step]]
            pair = clips[same] * count + clips[same + step]
            found.append(pair * (2 * span) + hops[same] - hops[same + step] + span)
        pair, offset = np.divmod(np.unique(np.concatenate(found)), 2 * span)
        yield _Proposals(pair // count, pair % count, offset - span)


def _batches(prints: Prints, proposed: _Proposals, min_overlap: float) -> Iterator[_Proposals]:
    """The proposals with enough in common, in batches of bounded work."""
    shorter = np.minimum(prints.lengths[proposed.first], prints.lengths[proposed.second])
    least = np.maximum(MIN_HOPS, min_overlap * shorter)
    proposed = proposed.take(_common_hops(prints, proposed) >= least)
    batch = np.cumsum(_common_hops(prints, proposed)) // _HOPS_PER_BATCH
    for rows in np.split(np.arange(len(batch)), np.nonzero(np.diff(batch))[0] + 1):
        if len(rows):
            yield proposed.take(rows)


def _common_hops(prints: Prints, proposed: _Proposals) -> NDArray[np.int64]:
    first, second, offset = proposed
    end = np.minimum(prints.lengths[first], offset + prints.lengths[second])
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
