"""JSONL files: one record in each line."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from data_contracts.records import Record

R = TypeVar("R", bound=Record)


class RecordError(ValueError):
    """A line of a JSONL file that is not the record that it should be."""


def to_jsonl(records: Iterable[Record]) -> str:
    """Write one line for each record, keys in the order of the class, each with a newline."""
    return "".join(record.model_dump_json() + "\n" for record in records)


def from_jsonl(text: str, record: type[R], name: str) -> list[R]:
    """Parse a JSONL text whose every line is a `record`; empty lines are skipped.

    Args:
        name: of the file in messages.

    Raises:
        RecordError: a line is no such record; names the line, the field, the value and the rule.
    """
    return list(iter_jsonl(text.split("\n"), record, name))


def iter_jsonl(lines: Iterable[str | bytes], record: type[R], name: str) -> Iterator[R]:
    """Parse JSONL line by line like `from_jsonl`, for files that need not fit into memory.

    Raises:
        RecordError: like `from_jsonl`.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield record.model_validate_json(line)
        except ValidationError as error:
            raise RecordError(
                f"{name} line {number} is not a {record.__name__}: {explain(error)}. "
                "Correct the line or remove it."
            ) from error


def explain(error: ValidationError) -> str:
    """Return the first problems of a pydantic error in one line: field, rule, value."""
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'line'}: {problem['msg']} "
        f"(got {problem['input']!r:.80})"
        for problem in error.errors()[:3]
    ]
    return "; ".join(problems)
