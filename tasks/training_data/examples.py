"""Training examples by number, made of their rows when a step asks for them.

A corpus of a million clips has some million examples: as objects they would be gigabytes in every
worker. Here they are two numbers each, and they travel to workers as these.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import Conversation
from infra.storage.store import Store
from model.audio import num_audio_tokens
from tasks.conversations.dialogues import completion
from tasks.conversations.prompts import PromptStyle, training_prompts
from tasks.conversations.task_table import TaskTable
from tasks.corpus.artifact import DIALOGUES
from tasks.corpus.index import CorpusIndex
from tasks.corpus.mapped_records import MappedRecords
from tasks.training_data.example_table import NO_LANGUAGE, Column, ExampleTable

Example = tuple[Conversation, ...]
"""Variants of one example that differ in the prompt's words; a step draws one of them."""


class Examples(Protocol):
    """A sequence of examples, which it makes when it is asked for them."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Example: ...


@dataclass(frozen=True)
class Completions:
    """One example for each training clip and task, with a variant for each prompt."""

    index: CorpusIndex
    rows: NDArray[np.int32]
    """[N]: the row of an example's clip."""
    tasks: Column
    table: TaskTable
    style: PromptStyle

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Example:
        clip = self.index[int(self.rows[number])]
        task = self.tasks[number]
        prompts = training_prompts(self.table, task, clip, self.style)
        return tuple(completion(clip, task, prompt) for prompt in prompts)


@dataclass(frozen=True)
class Dialogues:
    """One example for each dialogue of the train split."""

    records: MappedRecords[Conversation]
    rows: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Example:
        return (self.records[int(self.rows[number])],)


@dataclass(frozen=True)
class Chained:
    """The examples of `first`, then those of `second`."""

    first: Examples
    second: Examples

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, number: int) -> Example:
        count = len(self.first)
        return self.first[number] if number < count else self.second[number - count]


@dataclass(frozen=True)
class TrainingSet:
    """Examples, and what a mixture knows of each."""

    examples: Examples
    table: ExampleTable
    """One row an example."""

    def __len__(self) -> int:
        return len(self.examples)

    def __add__(self, other: "TrainingSet") -> "TrainingSet":
        return TrainingSet(Chained(self.examples, other.examples), self.table + other.table)

    def with_tasks(self, rename: Callable[[str], str]) -> "TrainingSet":
        """Return the same examples under other names of their tasks."""
        return replace(self, table=replace(self.table, task=self.table.task.renamed(rename)))


@dataclass(frozen=True)
class ClipTable:
    """What one pass over the index collects, one row for each clip."""

    language: Column
    corpus: Column
    num_samples: NDArray[np.int64]
    num_audio_tokens: NDArray[np.int64]
    asked_rows: NDArray[np.int32]
    """Rows of clips to train on, once for each task that they can be asked for."""
    asked_tasks: Column

    @classmethod
    def of(cls, index: CorpusIndex, tasks: TaskTable) -> "ClipTable":
        """Read the whole index once."""
        in_words = frozenset(tasks.asked_in_words)
        languages, corpora, lengths, tokens = [], [], array("q"), array("q")
        rows, named = array("i"), []
        for number in range(len(index)):
            clip = index.raw(number)
            languages.append(clip["language"] or NO_LANGUAGE)
            corpora.append(clip["source"])
            lengths.append(clip["num_samples"])
            tokens.append(num_audio_tokens(clip["num_samples"]))
            if clip["split"] == "train" and clip["kind"] != "command":
                asked = [task for task in clip["targets"] if task in in_words]
                rows.extend([number] * len(asked))
                named += asked
        return cls(
            Column.of(languages), Column.of(corpora), np.array(lengths), np.array(tokens),
            np.array(rows), Column.of(named),
        )  # fmt: skip

    def of_examples(
        self, tasks: Column, hearing: NDArray[np.integer], heard: NDArray[np.integer]
    ) -> ExampleTable:
        """Build the table of examples: example `hearing[i]` hears the clip in row `heard[i]`."""
        count = len(tasks)
        first = np.full(count, -1)
        first[hearing[::-1]] = heard[::-1]
        nothing = Column(np.zeros(1, np.int32), (NO_LANGUAGE,))  # the row that -1 takes

        def total(of_clips: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.bincount(hearing, of_clips[heard], count).astype(np.int64)

        return ExampleTable(
            task=tasks,
            language=(self.language + nothing).take(first),
            corpus=(self.corpus + nothing).take(first),
            num_samples=total(self.num_samples),
            num_audio_tokens=total(self.num_audio_tokens),
        )


def completion_examples(
    index: CorpusIndex, clips: ClipTable, tasks: TaskTable, style: PromptStyle
) -> TrainingSet:
    """Make an example of each task that a training clip can be asked for; sorted by task."""
    _, ranks = np.unique(clips.asked_tasks.names, return_inverse=True)  # by name, each once there
    order = ranks[clips.asked_tasks.codes].argsort(kind="stable")
    rows, named = clips.asked_rows[order], clips.asked_tasks.take(order)
    table = clips.of_examples(named, np.arange(len(rows)), rows)
    return TrainingSet(Completions(index, rows, named, tasks, style), table)


def dialogue_examples(corpus: Store, index: CorpusIndex, clips: ClipTable) -> TrainingSet:
    """Make an example of each dialogue of the train split."""
    records = MappedRecords(corpus, DIALOGUES, Conversation)
    rows, tasks, hearing, heard = array("i"), [], array("i"), array("i")
    for number in range(len(records)):
        dialogue = records.raw(number)
        if dialogue["split"] == "train":
            for clip in (clip for turn in dialogue["turns"] for clip in turn["audio"]):
                if (row := index.find(clip)) is not None:
                    hearing.append(len(rows))
                    heard.append(row)
            rows.append(number)
            tasks.append(dialogue["task"])
    table = clips.of_examples(Column.of(tasks), np.array(hearing), np.array(heard))
    return TrainingSet(Dialogues(records, np.array(rows)), table)
