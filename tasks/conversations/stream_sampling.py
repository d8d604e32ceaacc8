"""Random draws from streams: which places to take is drawn from counts, then they are picked.

Two passes over the rows replace holding them: memory depends on what is drawn, not on the corpus.
"""

import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def places_at_most(draw: random.Random, count: int, most: int) -> Sequence[int]:
    """At most `most` of the places 0 .. `count` - 1, in order; all of them where that is enough."""
    return range(count) if count <= most else sorted(draw.sample(range(count), most))


def pick(items: Iterable[tuple[K, T]], wanted: Mapping[K, Collection[int]]) -> dict[K, list[T]]:
    """Of the items of each key those at the wanted places among them, in order."""
    places = {key: frozenset(found) for key, found in wanted.items()}
    seen: Counter[K] = Counter()
    picked: dict[K, list[T]] = {key: [] for key in wanted}
    for key, item in items:
        if seen[key] in places.get(key, ()):
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
        """Keep the item, perhaps."""
        if self._seen < self._most:
            self._kept.append((self._seen, item))
        elif (place := self._draw.randrange(self._seen + 1)) < self._most:
            self._kept[place] = (self._seen, item)
        self._seen += 1

    def kept(self) -> list[T]:
        """What was kept, in the order of the stream."""
        return [item for _, item in sorted(self._kept, key=lambda found: found[0])]
