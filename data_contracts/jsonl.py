"""Files of records, one a line."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from data_contracts.records import Record

R = TypeVar("R", bound=Record)


class RecordError(ValueError):
    """A line of a JSONL file is not the record that it should be."""


def to_jsonl(records: Iterable[Record]) -> str:
    """One line a record, keys in the order of the class, ending with a newline."""
    return "".join(record.model_dump_json() + "\n" for record in records)


def from_jsonl(text: str, record: type[R], name: str) -> list[R]:
    """Parse a JSONL text whose every line is a `record`; empty lines are skipped.

    Raises:
        RecordError: with `name`, the line number, the field, the value and the rule.
    """
    return list(iter_jsonl(text.split("\n"), record, name))


def iter_jsonl(lines: Iterable[str | bytes], record: type[R], name: str) -> Iterator[R]:
    """The same line by line, for files that need not fit into memory.

    Raises:
        RecordError: as of `from_jsonl`.
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
    """The first problems of a pydantic error in one line: field, value, rule."""
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'line'}: {problem['msg']} "
        f"(got {problem['input']!r:.80})"
        for problem in error.errors()[:3]
    ]
    return "; ".join(problems)
