"""Table of all examples, from which a mixture draws: a few bytes each, however many there are."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_LANGUAGE = "none"
"""The language of a clip in which nobody speaks, or nobody knows which."""


@dataclass(frozen=True)
class Column:
    """One label for each example, out of few different ones."""

    codes: NDArray[np.int32]
    """[N]: indices into `names`."""
    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: Iterable[str]) -> "Column":
        """Build a column; its names come in the order in which they appear."""
        indices: dict[str, int] = {}
        codes = np.fromiter((indices.setdefault(x, len(indices)) for x in labels), np.int32)
        return cls(codes, tuple(indices))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, number: int) -> str:
        return self.names[int(self.codes[number])]

    def __add__(self, other: "Column") -> "Column":
        names = tuple(dict.fromkeys(self.names + other.names))
        moved = np.array([names.index(name) for name in other.names], np.int32)
        return Column(np.concatenate([self.codes, moved[other.codes]]), names)

    def take(self, numbers: NDArray[np.integer]) -> "Column":
        """Return the labels of some examples."""
        return Column(self.codes[numbers], self.names)

    def renamed(self, rename: Callable[[str], str]) -> "Column":
        """Return the same labels under other names."""
        return Column(self.codes, tuple(rename(name) for name in self.names))

    def sums(self, weights: NDArray[np.floating]) -> dict[str, float]:
        """Sum `weights` [N] by name."""
        sums = np.bincount(self.codes, weights, len(self.names))
        return dict(zip(self.names, sums.tolist(), strict=True))


@dataclass(frozen=True)
class ExampleTable:
    """One row for each example."""

    task: Column
    language: Column
    """The language of its first clip."""
    corpus: Column
    """Where its first clip comes from: the manifest's `source`."""
    num_samples: NDArray[np.int64]
    """[N]: samples of all its clips, at 16 kHz."""
    num_audio_tokens: NDArray[np.int64]
    """[N]: audio tokens of all its clips, not augmented."""

    def __len__(self) -> int:
        return len(self.task)

    def __add__(self, other: "ExampleTable") -> "ExampleTable":
        return ExampleTable(
            task=self.task + other.task,
            language=self.language + other.language,
            corpus=self.corpus + other.corpus,
            num_samples=np.concatenate([self.num_samples, other.num_samples]),
            num_audio_tokens=np.concatenate([self.num_audio_tokens, other.num_audio_tokens]),
        )
