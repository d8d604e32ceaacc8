"""Names the files of a packed corpus and reads what is derived from its clips."""

from collections.abc import Iterator

from data_contracts.jsonl import from_jsonl
from data_contracts.records import (
    Conversation,
    EvaluationItem,
)
from infra.storage.store import Store

DIALOGUES = "dialogues.jsonl"
PROMPTS = "prompts.jsonl"


def read_conversations(directory: Store, key: str) -> list[Conversation]:
    """The dialogues or prompts of an ingested corpus."""
    return from_jsonl(directory.read_text(key), Conversation, directory.path(key))


def read_suites(directory: Store) -> Iterator[tuple[str, list[EvaluationItem]]]:
    """The evaluation suites of an ingested corpus, by name."""
    for key in directory.list_keys("suites"):
        name = key.removeprefix("suites/").removesuffix(".jsonl")
        yield name, from_jsonl(directory.read_text(key), EvaluationItem, directory.path(key))
