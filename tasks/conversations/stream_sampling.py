"""Random draws from streams: indices are drawn from counts, then the items there are picked.

A second pass over the rows replaces holding them, so memory depends on what is drawn and not on the
corpus.
"""

import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def draw_indices(draw: random.Random, count: int, most: int) -> Sequence[int]:
    """Draw `most` of the indices 0 .. `count` - 1, in order; all where there are no more."""
    return range(count) if count <= most else sorted(draw.sample(range(count), most))


def pick(items: Iterable[tuple[K, T]], wanted: Mapping[K, Collection[int]]) -> dict[K, list[T]]:
    """Return of the items of each key those at the wanted indices among them, in order."""
    indices = {key: frozenset(numbers) for key, numbers in wanted.items()}
    seen: Counter[K] = Counter()
    picked: dict[K, list[T]] = {key: [] for key in wanted}
    for key, item in items:
        if seen[key] in indices.get(key, ()):
            picked[key].append(item)
        seen[key] += 1
    return picked


class Reservoir(Generic[T]):
    """An even draw of at most `most` items of a stream of unknown length (Vitter 1985, R)."""

    def __init__(self, draw: random.Random, most: int) -> None:
        self._draw, self._most = draw, most
        self._kept: list[tuple[int, T]] = []
        self._seen = 0

    def offer(self, item: T) -> None:
        """Show the next item of the stream, which is kept with the right probability."""
        if self._seen < self._most:
            self._kept.append((self._seen, item))
        elif (index := self._draw.randrange(self._seen + 1)) < self._most:
            self._kept[index] = (self._seen, item)
        self._seen += 1

    def kept(self) -> list[T]:
        """Return the items that were kept, in the order of the stream."""
        return [item for _, item in sorted(self._kept, key=lambda numbered: numbered[0])]
