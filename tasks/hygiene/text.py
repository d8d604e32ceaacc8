"""Texts that occur twice: equal once normalised, or nearly equal (MinHash, banded).

Near duplicates after Broder, "On the resemblance and containment of documents" (1997): the share of
equal minimal hashes of two texts' 4-grams estimates their Jaccard similarity. Texts whose minima
agree in a whole band are compared, so the work does not grow with the square of their number.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_NOT_WORDS = re.compile(r"[\W_]+")
_SHINGLE = 4
"""Characters."""
_BANDS, _ROWS = 20, 4
"""Two texts of similarity s meet in a band with 1 - (1 - s^4)^20: 0.98 for 0.65, 0.15 for 0.3."""
_MOST_IN_BUCKET = 50
_PRIME = np.uint64((1 << 31) - 1)
_MIN_SHINGLES = 8


def normalise(text: str) -> str:
    """Compatibility forms unified, case and punctuation gone, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORDS.sub(" ", folded).strip()


def shingles(text: str) -> frozenset[str]:
    """All character 4-grams of a normalised text; a shorter text is its own."""
    last = max(len(text) - _SHINGLE, 0)
    return frozenset(text[at : at + _SHINGLE] for at in range(last + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Common over all, 1 for equal sets."""
    return len(first & second) / len(first | second)


def similar_texts(texts: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
    """(first, second, similarity) of different normalised texts that are at least `least` alike.

    Texts below 11 characters are left out: one letter makes another word of them.
    """
    found = {
        number: pieces
        for number, text in enumerate(texts)
        if len(pieces := shingles(text)) >= _MIN_SHINGLES
    }
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, pieces in found.items():
        minima = _min_hashes(pieces)
        for band in range(_BANDS):
            key = minima[band * _ROWS : (band + 1) * _ROWS].tobytes()
            buckets[band, key].append(number)
    seen: set[tuple[int, int]] = set()
    for members in buckets.values():
        if len(members) > _MOST_IN_BUCKET:
            continue  # a formula that many texts share
        for place, first in enumerate(members):
            seen.update((first, second) for second in members[place + 1 :])
    for first, second in sorted(seen):
        similarity = jaccard(found[first], found[second])
        if least <= similarity < 1:
            yield first, second, similarity


def _coefficients() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    draw = np.random.default_rng(1997)
    factors = draw.integers(1, int(_PRIME), _BANDS * _ROWS, dtype=np.uint64)
    return factors, draw.integers(0, int(_PRIME), _BANDS * _ROWS, dtype=np.uint64)


_FACTORS, _TERMS = _coefficients()


def _min_hashes(pieces: frozenset[str]) -> NDArray[np.uint64]:
    """[_BANDS * _ROWS] minima of universal hashes; the same for equal texts in every process."""
    codes = np.array([_code(piece) for piece in pieces], np.uint64)
    hashed: NDArray[np.uint64] = (codes[:, None] * _FACTORS + _TERMS) % _PRIME
    return hashed.min(0)


def _code(piece: str) -> int:
    """A number below 2^31 for a shingle; Python's own hash differs between processes."""
    code = 0
    for character in piece:
        code = (code * 0x10FFFF + ord(character)) % int(_PRIME)
    return code
