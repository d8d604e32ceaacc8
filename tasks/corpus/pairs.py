"""Names and reads preference pairs: of a collection, or of a corpus that came with some."""

from data_contracts.answer_records import PreferencePair
from data_contracts.jsonl import from_jsonl
from infra.storage.store import Store

PAIRS = "pairs.jsonl"


def read_pairs(artifact: Store) -> list[PreferencePair]:
    """Read all pairs of a finished collection, or those that came with a corpus, if any did."""
    if not artifact.exists(PAIRS):
        return []
    return from_jsonl(artifact.read_text(PAIRS), PreferencePair, artifact.path(PAIRS))
