"""Counts the items of a stream while somebody else consumes it."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Counted(Iterator[T], Generic[T]):
    """The items of an iterable, once, with how many of them were taken so far."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self.count = 0

    def __next__(self) -> T:
        item = next(self._items)
        self.count += 1
        return item
