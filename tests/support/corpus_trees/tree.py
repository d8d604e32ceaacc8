"""What should come of a corpus that a test wrote."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Heard:
    """What should be packed of one recording."""

    samples: np.ndarray
    """float32, as soundfile decodes the file that was written."""
    targets: dict[str, str] = field(default_factory=dict)
    split: str = "train"
    language: str | None = None
    speaker: str | None = None
    others: dict[str, Any] = field(default_factory=dict)
    """More fields of the packed row."""


@dataclass(frozen=True)
class Tree:
    """A corpus that was written, with what should come of it."""

    splits: tuple[str, ...]
    heard: dict[str, Heard]
    """By the row's id."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Id -> reason."""
    exact: bool = True
    """False where the files are lossy in a way that two decoders round differently."""
