"""Names and reads the preference pairs of a finished collection."""

from data_contracts.jsonl import from_jsonl
from data_contracts.records import PreferencePair
from infra.storage.store import Store

PAIRS = "pairs.jsonl"


def read_pairs(artifact: Store) -> list[PreferencePair]:
    """Read all pairs of a finished collection."""
    return from_jsonl(artifact.read_text(PAIRS), PreferencePair, artifact.path(PAIRS))
