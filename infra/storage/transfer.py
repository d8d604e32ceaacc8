"""What comes from another machine, and the ways in which it does not."""

from dataclasses import dataclass
from typing import Protocol


class StoreError(OSError):
    """A store that did not do what it was asked, however often; says what was tried."""


class EndsTooEarlyError(StoreError):
    """A file is shorter than what is read of it; another time would not make it longer."""


class TruncatedError(OSError):
    """Fewer bytes came than were promised."""


class Bytes(Protocol):
    """What an answer brings."""

    def read1(self, size: int, /) -> bytes:
        """Some of the next bytes, at most `size`; none at the end."""

    def close(self) -> None:
        """Leave the rest."""


@dataclass(frozen=True)
class Answer:
    """Bytes of a file that are on their way, or here."""

    body: Bytes
    end: int
    """Byte of the file before which they end, by what was promised."""
    size: int
    """Of the whole file."""
    version: str = ""
    """Changes with the file, where the server tells."""
    arrived: bool = False
    """All of them are here."""
