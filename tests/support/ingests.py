"""Stage 1 in this process, and what it rejected."""

from pathlib import Path
from typing import Any

from data_contracts.jsonl import from_jsonl
from data_contracts.records import Rejected
from tasks import ingest
from tasks.ingest import IngestRecipe
from tasks.sources.manifest import DataSource
from tests.support.recordings import stage_context

BARE = IngestRecipe(clips_per_shard=3)
"""Of recordings without voices, sounds or commands: composes nothing."""


def run(folder: Path, recipe: IngestRecipe, source: DataSource) -> Any:
    """Ingest a source into a folder."""
    return ingest.run(stage_context(folder), recipe, source)


def rejected_in(folder: Path) -> list[Rejected]:
    """The records that an ingest into a folder rejected."""
    path = folder / "rejected.jsonl"
    return from_jsonl(path.read_text(), Rejected, str(path))
