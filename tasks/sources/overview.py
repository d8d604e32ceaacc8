"""What was understood of some data before anything is packed: forms, counts, examples, problems."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_contracts.records import Clip, Record, Rejected
from tasks.conversations.task_table import CONVERSATION, TaskTable
from tasks.sources.manifest import DataSource, source_tasks, understood_rows
from tasks.sources.source_error import DataSourceError

_EXAMPLES = 10
_EXAMPLES_A_PROBLEM = 3
_MAX_TEXT = 200
_EDGES = (1, 2, 5, 10, 30, 120)
"""Bounds of the histogram of durations, seconds; 30 s is what the encoder hears at once."""
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?")
_PAIR = "preference pair"
_LABELLED_WITH_LANGUAGE = ("asr", "s2tt")


class Example(Record):
    """A row as it was understood."""

    id: str
    form: str
    audio: str
    said: str
    """Labels or turns, in short."""


class Problem(Record):
    """Rows that are rejected, or will be, for one reason."""

    reason: str
    rule: str
    """What is wrong, with the values left out."""
    count: int
    examples: tuple[str, ...]
    """The first rows with their values."""


class Overview(Record):
    """Counts of the rows of a source."""

    forms: dict[str, int]
    clips: int
    rejected: int
    tasks: dict[str, int]
    languages: dict[str, int]
    splits: dict[str, int]
    durations: dict[str, int]
    """Clips by duration, where it is known without reading the recording."""
    seconds: float
    """Sum of the known durations."""
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]


def look(source: DataSource) -> Overview:
    """Read all rows of a source, and none of its recordings.

    Raises:
        DataSourceError: nothing is there, or no row was understood; with the first reasons.
        TaskError: a task is declared wrongly.
    """
    count, tasks = _Count(), source_tasks(source)
    for form, row in understood_rows(source):
        count.add(form, row, tasks)
    overview = count.overview()
    if not overview.clips:
        reasons = "; ".join(
            f"{problem.count} times {problem.rule}, e.g. {problem.examples[0]}"
            for problem in overview.problems
        )
        raise DataSourceError(
            f"nothing was understood: {overview.rejected} rows, and none of a known form. "
            f"{reasons or 'There is no row'}. docs/data.md lists the forms; data.columns maps "
            "names."
        )
    return overview


class _Count:
    """The counts while rows go by."""

    def __init__(self) -> None:
        self._forms: Counter[str] = Counter()
        self._tasks: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._splits: Counter[str] = Counter()
        self._durations: Counter[str] = Counter()
        self._problems: Counter[tuple[str, str]] = Counter()
        self._cases: dict[tuple[str, str], list[str]] = {}
        self._examples: list[Example] = []
        self._clips = self._rejected = 0
        self._seconds = 0.0

    def add(self, form: str, row: Clip | Rejected, tasks: TaskTable) -> None:
        """Count one row."""
        if isinstance(row, Clip) and (problem := tasks.problem(row)):
            row = Rejected(id=row.id, reason="invalid_row", detail=problem)
        if isinstance(row, Rejected):
            self._rejected += 1
            self._note(row.reason, row.detail, row.id)
            return
        self._clips += 1
        self._forms[form] += 1
        self._splits[row.split] += 1
        self._languages[row.language or "none"] += 1
        self._tasks.update([*row.targets, *_kinds(row)])
        if len(self._examples) < _EXAMPLES:
            self._examples.append(
                Example(id=row.id, form=form, audio=row.audio, said=_said(row)[:_MAX_TEXT])
            )
        if (seconds := _duration(row)) is None:
            self._durations["unknown"] += 1
        else:
            self._seconds += seconds
            self._durations[_bin(seconds)] += 1
        for reason, detail in _doubts(row):
            self._note(reason, detail, row.id)

    def overview(self) -> Overview:
        """Return what was counted, the most frequent first."""
        bins = [_bin(edge - 0.5) for edge in _EDGES] + [_bin(_EDGES[-1] + 1.0), "unknown"]
        return Overview(
            forms=dict(self._forms.most_common()),
            clips=self._clips,
            rejected=self._rejected,
            tasks=dict(self._tasks.most_common()),
            languages=dict(self._languages.most_common()),
            splits=dict(self._splits.most_common()),
            durations={name: self._durations[name] for name in bins if self._durations[name]},
            seconds=round(self._seconds, 3),
            examples=tuple(self._examples),
            problems=tuple(
                Problem(reason=key[0], rule=key[1], count=count, examples=tuple(self._cases[key]))
                for key, count in self._problems.most_common()
            ),
        )

    def _note(self, reason: str, detail: str, name: str) -> None:
        key = (reason, _VALUES.sub("...", detail)[:_MAX_TEXT])
        self._problems[key] += 1
        cases = self._cases.setdefault(key, [])
        if len(cases) < _EXAMPLES_A_PROBLEM:
            cases.append(f"{name}: {detail}")


def _kinds(row: Clip) -> Iterator[str]:
    if row.conversation:
        yield CONVERSATION if row.rejected is None else _PAIR


def _said(row: Clip) -> str:
    turns = [f"{turn.role}: {'<audio>' * len(turn.audio)}{turn.text}" for turn in row.conversation]
    if row.rejected is not None:
        turns.append(f"rejected: {row.rejected}")
    labels = [f"{task}: {answer}" for task, answer in row.targets.items()]
    return " | ".join([*labels, *turns]) or "heard in another row's conversation"


def _duration(row: Clip) -> float | None:
    end = row.seconds if row.end_seconds is None else row.end_seconds
    return None if end is None else max(end - row.begin_seconds, 0.0)


def _bin(seconds: float) -> str:
    lower = 0
    for upper in _EDGES:
        if seconds <= upper:
            return f"{lower}-{upper} s"
        lower = upper
    return f"over {lower} s"


def _doubts(row: Clip) -> Iterator[tuple[str, str]]:
    """Yield what ingest will refuse later, as far as a row tells."""
    if "://" not in row.audio and not Path(row.audio).is_file():
        yield "missing_file", f"there is no file {row.audio!r}"
    if row.language is None and any(task in row.targets for task in _LABELLED_WITH_LANGUAGE):
        yield "no_language", "a transcript or translation has no language: give the row one"
