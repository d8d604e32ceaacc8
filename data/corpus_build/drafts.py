"""A recording before it is coded: everything the manifest says except length and checksum."""

from dataclasses import dataclass
from pathlib import Path

from corpus_build.encode import Coding


@dataclass(frozen=True)
class Draft:
    """One row of the manifest to be, and the audio file that it is made from."""

    id: str
    origin: Path
    folder: str
    coding: Coding
    targets: dict[str, str]
    language: str | None
    speaker: str | None
    split: str
    phrase: str | None
    kind: str
    source: str
    license: str

    @property
    def audio(self) -> str:
        """Path of the coded file relative to the manifest."""
        return f"audio/{self.folder}/{self.id}.opus"
