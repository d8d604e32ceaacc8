"""Interface of a stage: its inputs, the folder to fill, where to run and to report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.compute.interface import Compute
from infra.compute.resources import Resources
from infra.storage.store import Store

CHECKPOINT = "checkpoint"
"""Folder of an artifact that opens with `from_pretrained`."""


class StageLogger(Protocol):
    """The stage's run in tracking. It must pickle, because training workers log through it."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one value for each name at a step."""
        ...

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        ...

    def text(self, content: str, file: str) -> None:
        """Keep a text file."""
        ...

    def table(self, rows: Sequence[Mapping[str, object]], file: str) -> None:
        """Add rows to a table."""
        ...


@dataclass(frozen=True)
class StageContext:
    """Everything that one stage may use."""

    directory: Store
    """The artifact's folder. Files below `scratch/` help to continue and vanish at the end."""
    inputs: Mapping[str, Store]
    """Finished artifacts, by input name."""
    logger: StageLogger
    compute: Compute
    resources: Resources
    scratch: Path
    """A local folder for temporary files."""
    progress: Callable[[str], None]
    """Shows in one line what was just reached."""


@dataclass(frozen=True)
class StageResult:
    """Counts and metrics of a finished stage; its files are in its directory."""

    records_in: int
    records_out: int
    rejected: int = 0
    metrics: Mapping[str, float] | None = None
    """Numbers of the end, for the stage's tracking run; a training has logged its own by step."""
