"""Tasks: what a recording can be asked for, in which words, and how answers are scored.

A task is one entry of a table. `tasks.yaml` beside this file has the shipped ones. A user declares
more, in the same form, as `data.tasks` of a profile or in a `tasks.yaml` beside the manifest:

    engine:
      {kind: label, prompt: "Name the engine:", choices: [diesel, electric]}

The table is a value: it comes from the source, ingest writes it into the corpus, and whoever needs
it reads it there and passes it on. Records carry names.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from data_contracts.errors import UsageError
from data_contracts.jsonl import explain
from data_contracts.recipe import Recipe
from data_contracts.records import Clip, NonEmpty, TaskName
from tasks.conversations.choices import chosen_letter
from tasks.conversations.placeholders import PLACEHOLDERS, check_placeholders

AnswerKind = Literal[
    "transcript",  # what is said, word for word
    "label",  # one of a closed set
    "text",  # free
]
CONVERSATION = "conversation"
"""What a user's own dialogues are called in place of a task."""
SPOKEN_COMMAND = "spoken_command"
"""Name of dialogues in which a voice over a sound asks about it, and of their suite."""
COMBINED = frozenset({"multi_turn", "two_clips"})
"""Names of dialogues that are made of several clips."""
REPLAY = "replay:"
"""Prefix of pre-training tasks in the mixture of fine-tuning: they keep what dialogues do not
practise."""
DIALOGUE_TASKS = (SPOKEN_COMMAND, "multi_turn", "two_clips", CONVERSATION)
"""What dialogues are called that are about several tasks."""
_RESERVED = frozenset({*DIALOGUE_TASKS, "dual_mode", "preference"})
"""Names of such dialogues and of suites, which no task may have."""
_DEFAULT_METRICS = {"transcript": "wer", "label": "balanced_accuracy", "text": "bleu"}


class TaskError(UsageError, ValueError):
    """A task is declared wrongly, or used and not declared."""


class TaskSpec(Recipe):
    """One task."""

    kind: AnswerKind
    """What an answer is: `transcript`, `label` (one of a closed set) or `text` (free)."""
    metric: NonEmpty
    """What the task's suite measures, an entry of the table of metrics; where it is not given,
    word error rate of transcripts, balanced accuracy of labels, BLEU of texts."""
    whole_recording: bool
    """Whether an answer accounts for all that is heard, so that it would be wrong if the recording
    were cut; where it is not given, that of a transcript does."""
    choices: tuple[NonEmpty, ...] = ()
    """Labels that an answer may be; none: all that the corpus has."""
    prompt: NonEmpty | None
    """What pre-training and evaluation ask with. None: the recording itself asks."""
    paraphrases: tuple[NonEmpty, ...] = ()
    """More prompts to train with."""
    held_out: tuple[NonEmpty, ...] = ()
    """More prompts to evaluate with, which training never shows."""
    tags: NonEmpty | None = None
    """The predecessor's tags that ask for it; None: those of a keyword, and the task's name."""
    questions: tuple[NonEmpty, ...] = ()
    """What a user asks in a chat; none: what pre-training asks with."""
    answer: NonEmpty = "{answer}"
    """The sentence in which the assistant answers there."""
    commands: dict[NonEmpty, dict[NonEmpty, NonEmpty]] = Field(default={})
    """Spoken commands that ask for it -> what is replied to each label, and nothing to another;
    without any: the sentence above."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, entry: object) -> object:
        if not isinstance(entry, dict):
            return entry
        kind = str(entry.get("kind"))
        metric = _DEFAULT_METRICS.get(kind, _DEFAULT_METRICS["text"])
        return {"metric": metric, "whole_recording": kind == "transcript", **entry}

    @model_validator(mode="after")
    def _fits_together(self) -> "TaskSpec":
        if self.prompt is None and (self.paraphrases or self.held_out or self.questions):
            raise ValueError(
                "without a prompt the recording itself asks: leave out paraphrases, held_out and "
                "questions, or give a prompt"
            )
        if self.choices and self.kind != "label":
            raise ValueError(f"choices are for kind label, and this is {self.kind}")
        for text in (*self.training_prompts, *self.held_out, *self.questions, self.tags or ""):
            check_placeholders(text, PLACEHOLDERS)
        check_placeholders(self.answer, ("answer",))
        if shown := set(self.held_out) & set(self.training_prompts):
            raise ValueError(f"{sorted(shown)} is a prompt of training and can't be held out")
        if blank := [text for text in self.held_out if not fragment(text)]:
            raise ValueError(f"held_out {blank[0]!r} has no words of its own")
        return self

    @property
    def training_prompts(self) -> tuple[str, ...]:
        """Every prompt that training asks with."""
        return (self.prompt, *self.paraphrases) if self.prompt else ()

    @property
    def chat_questions(self) -> tuple[str, ...]:
        """Every question that a chat asks with; none where the recording itself asks."""
        return self.questions or self.training_prompts

    @property
    def asks_the_clips_question(self) -> bool:
        """Whether any of its prompts holds the question of the clip."""
        texts = (*self.training_prompts, *self.held_out, *self.questions, self.tags or "")
        return any("{question}" in text for text in texts)


Declared = dict[TaskName, TaskSpec]
_DECLARED: TypeAdapter[Declared] = TypeAdapter(Declared)


@dataclass(frozen=True)
class TaskTable(Mapping[str, TaskSpec]):
    """Every task that a corpus may have, by name, in a fixed order."""

    specs: Mapping[str, TaskSpec]

    def __getitem__(self, name: str) -> TaskSpec:
        return self.specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def asked_in_words(self) -> tuple[str, ...]:
        """Tasks that have a prompt."""
        return tuple(name for name, spec in self.items() if spec.prompt)

    @property
    def asked_by_voice(self) -> tuple[str, ...]:
        """Tasks without a prompt: the recording itself asks."""
        return tuple(name for name, spec in self.items() if not spec.prompt)

    @property
    def about_the_whole(self) -> frozenset[str]:
        """Tasks whose answers would be wrong if the recording were cut."""
        return frozenset(name for name, spec in self.items() if spec.whole_recording)

    def with_declared(self, declared: Mapping[str, TaskSpec]) -> "TaskTable":
        """The table with more tasks after its own; one of the same name takes the old one's place.

        Raises:
            TaskError: a name belongs to dialogues or suites of several tasks.
        """
        if taken := sorted(_RESERVED & declared.keys()):
            raise TaskError(
                f"no task can be named {', '.join(taken)}: dialogues and suites of several tasks "
                "have this name. Rename it."
            )
        return TaskTable({**self.specs, **declared})

    def require(self, names: Iterable[str], user: str) -> None:
        """Refuse names that no task has.

        Args:
            user: who names them, for the message.

        Raises:
            TaskError: with the known names and how to declare another.
        """
        if unknown := sorted(set(names) - self.keys()):
            raise TaskError(f"{user}: {self._unknown(unknown[0])}")

    def problem(self, clip: Clip) -> str | None:
        """Say what is wrong with the labels of a clip; None where nothing is.

        The words are part of the digest of a source with such rows: they stay as they are, and name
        no other task.
        """
        for name, label in clip.targets.items():
            if name not in self:
                return (
                    f"targets.{name}: there is no task {name!r}. Declare it below data.tasks in "
                    "the profile, or in tasks.yaml beside the manifest"
                )
            spec = self[name]
            if spec.choices and label not in spec.choices:
                return f"targets.{name}: {label!r:.80} is none of {', '.join(spec.choices)}"
            if spec.asks_the_clips_question and not clip.question:
                return f"targets.{name}: the row has no question, which its prompt asks"
            if spec.metric == "choice" and not chosen_letter(label, clip.question or ""):
                return f"targets.{name}: {label!r:.80} names no choice; write it as 'B. a dog'"
        return None

    def to_json(self) -> str:
        """The table as the file that `from_json` reads."""
        return _DECLARED.dump_json(dict(self.specs), indent=1, exclude_defaults=True).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "TaskTable":
        """Read what `to_json` wrote."""
        return cls(_DECLARED.validate_json(text))

    def _unknown(self, name: str) -> str:
        return (
            f"there is no task {name!r}; there are {', '.join(self)}. Declare it below data.tasks "
            "in the profile, or in tasks.yaml beside the manifest, as\n"
            f"{name}:\n"
            f'  {{kind: label, prompt: "Name the {name}:"}}'
        )


def shipped_tasks() -> TaskTable:
    """Read the tasks that need no declaration."""
    text = files("tasks.conversations").joinpath("tasks.yaml").read_text("utf-8")
    return TaskTable(parse_tasks(text, "tasks/conversations/tasks.yaml"))


def parse_tasks(text: str | bytes, url: str) -> Declared:
    """Read the tasks that a YAML file declares.

    Raises:
        TaskError: it is no YAML or no mapping of names to tasks; with `url`, field and rule.
    """
    try:
        entries: Any = yaml.safe_load(text)
        return _DECLARED.validate_python({} if entries is None else entries)
    except ValidationError as error:
        raise TaskError(f"{url} declares no tasks: {explain(error)}") from error
    except yaml.YAMLError as error:
        raise TaskError(f"{url} is no YAML: {error}") from error


def dump_tasks(declared: Declared) -> dict[str, object]:
    """Tasks as plain values, without what is left at its default."""
    return _DECLARED.dump_python(declared, mode="json", exclude_defaults=True)  # type: ignore[no-any-return]


def fragment(prompt: str) -> str:
    """The longest part of a prompt without a placeholder."""
    parts = re.split(r"<\|\{\w+\}\|>|\{\w+\}", prompt)
    return max(parts, key=len).strip()
