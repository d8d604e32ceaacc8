"""Training examples by number, made of their rows when a step asks for them.

A corpus of a million clips has some million examples: as objects they would be gigabytes in every
worker. Here they are two numbers each, and they travel to workers as these.
"""

from array import array
from dataclasses import dataclass
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
    """Examples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Example: ...


@dataclass(frozen=True)
class Completions:
    """One example a training clip and task, a variant a prompt; sorted by task."""

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
    """One example a dialogue of the train split."""

    records: MappedRecords[Conversation]
    rows: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Example:
        return (self.records[int(self.rows[number])],)


@dataclass(frozen=True)
class Chained:
    """The examples of `second` follow those of `first`."""

    first: Examples
    second: Examples

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, number: int) -> Example:
        count = len(self.first)
        return self.first[number] if number < count else self.second[number - count]


@dataclass(frozen=True)
class ClipTable:
    """What one pass over the index finds, a row a clip."""

    language: Column
    corpus: Column
    num_samples: NDArray[np.int64]
    num_audio_tokens: NDArray[np.int64]
    asked_rows: NDArray[np.int32]
    """Rows of clips to train on, once for each task that they can be asked for."""
    asked_tasks: Column

    @classmethod
    def of(cls, index: CorpusIndex, tasks: TaskTable) -> "ClipTable":
        """Read the index once."""
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
        """The table of examples, of which example `hearing[i]` hears the clip in row `heard[i]`."""
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
) -> tuple[Completions, ExampleTable]:
    """What the training clips can be asked for, and what a mixture must know of it."""
    names = np.array(clips.asked_tasks.names)
    order = names.argsort().argsort()[clips.asked_tasks.codes].argsort(kind="stable")
    rows, named = clips.asked_rows[order], clips.asked_tasks.take(order)
    table = clips.of_examples(named, np.arange(len(rows)), rows)
    return Completions(index, rows, named, tasks, style), table


def dialogue_examples(
    corpus: Store, index: CorpusIndex, clips: ClipTable
) -> tuple[Dialogues, ExampleTable]:
    """The dialogues to train on, and what a mixture must know of them."""
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
    return Dialogues(records, np.array(rows)), table
