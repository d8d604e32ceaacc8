"""Families of recordings that are the same, built pair by pair on disk, so memory stays flat.

Clips of one source that are the same to the byte are declared by the manifest itself, such as five
captions of one recording or one sentence in fifteen languages. Inside a split that is no finding,
and one of them represents all; in two splits it is a leak like any other.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import PackedClip
from tasks.hygiene.disk_arrays import Parted, Spool
from tasks.hygiene.text import text_key

IDENTITY = np.dtype([("bytes", "<u8"), ("source", "<u8"), ("rank", "i1")])
"""Identity of a recording: hash of its bytes, hash of these and of the file that they were made of,
and the index of its split in `SPLITS`. Two hashes are equal by chance once in 2^64 pairs."""
SAME = np.dtype([("first", "<i8"), ("second", "<i8"), ("value", "<f4"), ("bit_error", "<f4")])
"""Numbers of two recordings that are the same, with their correlation and bit error."""

_STATE = np.dtype(
    [
        ("twin", "<i8"),
        ("root", "<i8"),
        ("far", "<i8"),
        ("value", "<f4"),
        ("bit_error", "<f4"),
        ("lowest", "<f4"),
    ]
)
"""State of a recording, by number.

twin: the first recording with the same bytes in the same split.
root: an earlier recording that is the same, itself where there is none.
far, value, bit_error: a recording of a later split that is the same (-1: none), and its measures.
lowest: of a root, the lowest correlation within its family.
"""
_NUMBERED = np.dtype([("key", "<u8"), ("number", "<i8")])
_MEMBER = np.dtype([("key", "<u8"), ("source", "<u8"), ("number", "<i8")])
_AT_ONCE = 50_000


class Leak(NamedTuple):
    """A recording that is also in a later split; `near` and `far` are numbers of recordings."""

    near: int
    far: int
    value: float
    bit_error: float


class Repeat(NamedTuple):
    """A recording that is several times in a split, from different sources."""

    first: int
    other: int
    num_sources: int
    lowest: float
    """Lowest correlation of the pairs that make up the family."""


def identities(rows: list[PackedClip], ranks: NDArray[np.int8]) -> NDArray[Any]:
    """[rows] of IDENTITY."""
    identity = np.empty(len(rows), IDENTITY)
    identity["bytes"] = [int(row.sha256[:16], 16) for row in rows]
    identity["source"] = [text_key(row.sha256, _source(row)) for row in rows]
    identity["rank"] = ranks
    return identity


def _source(row: PackedClip) -> str:
    """Name the files of a recording; a row without files has a source of its own."""
    return "\n".join(f"{file.sha256} {file.audio}" for file in row.sources) or f"id {row.id}"


class Families:
    """Families of all recordings of a corpus; the result does not depend on the order of `add`."""

    def __init__(self, identity: NDArray[Any], folder: Path) -> None:
        """Begin with recordings that are the same to the byte.

        Args:
            identity: [recordings] of IDENTITY.
            folder: for files, left to be deleted.
        """
        folder.mkdir()
        self._identities, self._folder = identity, folder
        spool = Spool(folder / "state", _STATE)
        for numbers in _batches(len(identity)):
            rows = np.zeros(len(numbers), _STATE)
            rows["twin"] = rows["root"] = numbers
            rows["far"], rows["lowest"] = -1, 1
            spool.add(rows)
        self._state = spool.mapped("r+")
        numbered = Parted(folder / "bytes", _NUMBERED, len(identity))
        for numbers in _batches(len(identity)):
            rows = np.empty(len(numbers), _NUMBERED)
            rows["key"], rows["number"] = identity["bytes"][numbers], numbers
            numbered.add(rows)
        for part in numbered:
            self._take_equal(part)

    @property
    def twins(self) -> NDArray[np.int64]:
        """[recordings]: the first one with the same bytes in the same split."""
        twins: NDArray[np.int64] = self._state["twin"]
        return twins

    def add(self, pairs: NDArray[Any]) -> None:
        """Add [pairs] of SAME."""
        for first, second, value, bit_error in pairs.tolist():
            near, far = sorted((first, second), key=lambda number: self._rank(number))
            if self._rank(near) == self._rank(far):
                self._unite(near, far, value)
            else:
                self._leak(near, far, value, bit_error)

    def leaks(self) -> Iterator[Leak]:
        """Each recording that is also in a later split, with the likest one of the last split."""
        for numbers in _batches(len(self._state)):
            states = self._state[self._state["twin"][numbers]]
            leaking = states["far"] >= 0
            leaks = states[leaking][["far", "value", "bit_error"]].tolist()
            for near, leak in zip(numbers[leaking].tolist(), leaks, strict=True):
                yield Leak(near, *leak)

    def repeats(self) -> Iterator[Repeat]:
        """Each family inside a split that has more than one source, once."""
        members = Parted(self._folder / "members", _MEMBER, len(self._state))
        for numbers in _batches(len(self._state)):
            roots = self._state["root"][numbers]
            while np.any((above := self._state["root"][roots]) != roots):
                roots = above
            strays = self._identities["source"][numbers] != self._identities["source"][roots]
            rows = np.empty(int(strays.sum()), _MEMBER)
            rows["key"], rows["number"] = roots[strays], numbers[strays]
            rows["source"] = self._identities["source"][rows["number"]]
            members.add(rows)
        for part in members:
            _, firsts = np.unique(part[["key", "source"]], return_index=True)
            roots, starts, counts = np.unique(
                part["key"][firsts], return_index=True, return_counts=True
            )
            others = np.minimum.reduceat(part["number"][firsts], starts) if len(roots) else roots
            for root, other, count in zip(
                roots.astype(np.int64).tolist(), others.tolist(), counts.tolist(), strict=True
            ):
                yield Repeat(root, other, 1 + count, float(self._state["lowest"][root]))

    def _rank(self, number: int) -> int:
        return int(self._identities["rank"][number])

    def _take_equal(self, part: NDArray[Any]) -> None:
        """Set the twins of a part, and pair the first of each split with that of the last split."""
        part = _repeated(part)
        ranks = self._identities["rank"][part["number"]]
        order = np.lexsort((part["number"], ranks, part["key"]))
        part, ranks = part[order], ranks[order]
        new_key = np.diff(part["key"], prepend=part["key"][:1] + np.uint64(1)) != 0
        starts = np.flatnonzero(new_key | (np.diff(ranks, prepend=-1) != 0))
        firsts = part["number"][starts]
        twins = firsts.repeat(np.diff(starts, append=len(part)))
        self._state["twin"][part["number"]] = twins
        self._state["root"][part["number"]] = twins
        keys = part["key"][starts]
        last = firsts[np.searchsorted(keys, keys, side="right") - 1]
        pairs = np.ones(int((firsts != last).sum()), SAME)
        pairs["first"], pairs["second"] = firsts[firsts != last], last[firsts != last]
        pairs["bit_error"] = 0
        self.add(pairs)

    def _unite(self, one: int, other: int, value: float) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._state["root"][second] = first
        lowest = self._state["lowest"]
        lowest[first] = min(value, lowest[first], lowest[second])

    def _root(self, number: int) -> int:
        roots = self._state["root"]
        while (above := int(roots[number])) != number:
            roots[number] = roots[above]
            number = above
        return number

    def _leak(self, near: int, far: int, value: float, bit_error: float) -> None:
        known = self._state[near]
        before = int(known["far"])
        if before < 0 or (self._rank(far), value, -far) > (
            self._rank(before), float(known["value"]), -before
        ):  # fmt: skip
            known["far"], known["value"], known["bit_error"] = far, value, bit_error


def _repeated(part: NDArray[Any]) -> NDArray[Any]:
    """Rows whose key occurs more than once, in their order; they are few."""
    order = np.argsort(part["key"], kind="stable")
    equal = np.diff(part["key"][order]) == 0
    again = np.zeros(len(part), bool)
    again[:-1] = equal
    again[1:] |= equal
    return part[np.sort(order[again])]


def _batches(count: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of all recordings, in batches."""
    for start in range(0, count, _AT_ONCE):
        yield np.arange(start, min(start + _AT_ONCE, count))
