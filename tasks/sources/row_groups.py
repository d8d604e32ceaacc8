"""Groups of recordings that share a voice, a sentence, a recording or a conversation.

Millions of rows pass: some hashes of each are kept, and none of its texts.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_contracts.normalised_text import normalise
from data_contracts.records import Clip
from data_contracts.split_leaks import SPEAKER_TASKS

Numbers = NDArray[np.int64]
Edges = tuple[Numbers, Numbers]
"""Rows, and a key of each."""
Level = Literal[
    "speaker",  # rows with the same content or the same voice are one group
    "content",  # voices join only rows whose answers they give away
]


class RowKeys:
    """Hashes of each recording's id and tasks, and of what it may share with no other split."""

    def __init__(self) -> None:
        self.ids, self.tasks = array("q"), array("q")
        self._contents, self._voices = _EdgeList(), _EdgeList()
        self._refers = False

    def add(self, clip: Clip) -> None:
        """Keep the hashes of the next recording."""
        number = len(self.ids)
        own = "pair" if clip.rejected is not None else "conversation" if clip.conversation else ""
        self.ids.append(_hash("id", clip.id))
        self.tasks.append(_hash("tasks", own, *sorted(clip.targets)))
        heard = [_hash("id", name) for turn in clip.conversation for name in turn.audio]
        self._contents.add(number, [*_contents(clip), *heard])
        self._refers |= bool(heard)
        if clip.speaker:
            by_voice = not clip.targets.keys().isdisjoint(SPEAKER_TASKS)
            edges = self._contents if by_voice else self._voices
            edges.add(number, [_hash("speaker", clip.speaker)])

    def levels(self) -> Iterator[tuple[Level, Edges]]:
        """Yield the keys that join rows, the strictest level first."""
        contents, voices = self._contents.arrays(), self._voices.arrays()
        if self._refers:
            contents = _joined(contents, (np.arange(len(self.ids)), np.array(self.ids)))
        if len(voices[0]):
            yield "speaker", _joined(contents, voices)
        yield "content", contents


@dataclass(frozen=True)
class RowGroups:
    """Rows that must not be divided."""

    of_row: Numbers
    """[rows]: index of each row's group."""
    sizes: Numbers
    """[groups]: number of rows."""
    hashes: Numbers
    """[groups]: least hash of an id."""
    tasks: Numbers
    """[groups]: hash of the tasks of the first row."""

    @classmethod
    def of(cls, rows: RowKeys, edges: Edges) -> "RowGroups":
        """Join rows that share a key, directly or by others."""
        labels = _components(len(rows.ids), edges)
        first, of_row, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        hashes = np.full(len(first), np.iinfo(np.int64).max)
        np.minimum.at(hashes, of_row, np.array(rows.ids))
        return cls(of_row, sizes, hashes, np.array(rows.tasks)[first])

    def __len__(self) -> int:
        return len(self.sizes)


class _EdgeList:
    """Growing list of edges."""

    def __init__(self) -> None:
        self._rows, self._keys = array("q"), array("q")

    def add(self, row: int, keys: Iterable[int]) -> None:
        for key in keys:
            self._rows.append(row)
            self._keys.append(key)

    def arrays(self) -> Edges:
        return np.array(self._rows, np.int64), np.array(self._keys, np.int64)


def _contents(clip: Clip) -> Iterator[int]:
    """Yield the keys of what a clip lets hear, as the contract of splits and hygiene compare it."""
    location = clip.model_dump(include={"audio", "begin_byte", "cell"})
    yield _hash("audio", str(location))
    if clip.sha256:
        yield _hash("sha256", clip.sha256)
    if clip.phrase and clip.kind in ("speech", "sound", "note"):
        yield _hash("phrase", clip.kind, clip.phrase)
    if clip.kind == "speech":
        for task in ("asr", "s2tt"):
            if text := normalise(clip.targets.get(task, "")):
                yield _hash(task, text)


def _components(num_rows: int, edges: Edges) -> Numbers:
    """Return [num_rows]: the first row of each row's component in the graph of rows and keys."""
    rows, keys = edges
    names, codes = np.unique(keys, return_inverse=True)
    labels = np.arange(num_rows)
    while True:
        least = np.full(len(names), num_rows)
        np.minimum.at(least, codes, labels[rows])
        joined = labels.copy()
        np.minimum.at(joined, rows, least[codes])
        joined = joined[joined]  # what the row of a smaller label has got holds for this one too
        if np.array_equal(joined, labels):
            return labels
        labels = joined


def _joined(first: Edges, second: Edges) -> Edges:
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def _hash(*parts: str) -> int:
    """Hash texts to 64 bits, the same in every process."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
