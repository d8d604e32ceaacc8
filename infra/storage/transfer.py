"""Transfers from and to other machines: their answers, and the errors in which they end."""

from dataclasses import dataclass
from typing import Protocol

REMEDY = "Check the store and the network, then run again: what is finished is kept."
"""For an error that remains after all attempts."""


class StoreError(OSError):
    """A store failed in every attempt; the message says what was tried."""


class EndsTooEarlyError(StoreError):
    """A file is shorter than what is read of it; another attempt would not make it longer."""


class TruncatedError(OSError):
    """Fewer bytes came than were promised."""


class Bytes(Protocol):
    """The bytes of an answer, in their order."""

    def read1(self, size: int, /) -> bytes:
        """Return some of the next bytes, at most `size`; none at the end."""

    def close(self) -> None:
        """Leave the rest."""


@dataclass(frozen=True)
class Answer:
    """Bytes of a file that are on their way, or here."""

    body: Bytes
    end: int
    """Byte of the file before which they end, by what was promised."""
    size: int
    """Bytes of the whole file."""
    version: str = ""
    """Text that changes with the file; empty where the server has none."""
    arrived: bool = False
    """Whether all of them are here."""
