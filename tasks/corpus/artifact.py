"""Names of the files of a packed corpus, and readers of what is derived from its clips."""

from collections.abc import Iterator

from data_contracts.answer_records import EvaluationItem
from data_contracts.jsonl import from_jsonl
from data_contracts.records import Conversation
from infra.storage.store import Store
from tasks.conversations.task_table import TaskTable, shipped_tasks

TASKS = "tasks.json"
DIALOGUES = "dialogues.jsonl"
PROMPTS = "prompts.jsonl"


def read_tasks(directory: Store) -> TaskTable:
    """Read the tasks of an ingested corpus; one without the file was made with the shipped ones."""
    if not directory.exists(TASKS):
        return shipped_tasks()
    return TaskTable.from_json(directory.read_bytes(TASKS))


def read_conversations(directory: Store, key: str) -> list[Conversation]:
    """Read the dialogues or prompts of an ingested corpus."""
    return from_jsonl(directory.read_text(key), Conversation, directory.path(key))


def read_suites(directory: Store) -> Iterator[tuple[str, list[EvaluationItem]]]:
    """Read the evaluation suites of an ingested corpus, by name."""
    for key in directory.list_keys("suites"):
        name = key.removeprefix("suites/").removesuffix(".jsonl")
        yield name, from_jsonl(directory.read_text(key), EvaluationItem, directory.path(key))
