"""The words in which a clip is asked for a task, and in which the assistant answers.

Training draws from a task's prompt and its paraphrases; evaluation asks with the prompt, or with
those that no training example has ever shown. Chat questions and spoken commands ask the same
things in conversation. The words themselves are in the table of tasks.
"""

from collections.abc import Mapping
from typing import Literal

from data_contracts.digest import digest_of
from data_contracts.records import PackedClip
from tasks.conversations.placeholders import fill
from tasks.conversations.tags import tag_prompt
from tasks.conversations.task_table import TaskError, TaskSpec, TaskTable, fragment

PromptStyle = Literal[
    "natural",  # a sentence
    "tags",  # the predecessor's hierarchical tags
]
AskedWith = Literal[
    "canonical",
    "held_out",  # paraphrases that training never sees
    "tags",
]
TWO_CLIPS_QUESTION = "What are these two recordings?"
TWO_CLIPS_ANSWER = "The first is {first}, the second is {second}."


def training_prompts(
    tasks: TaskTable, task: str, clip: PackedClip, style: PromptStyle = "natural"
) -> tuple[str, ...]:
    """Return the prompts that training asks a clip's task with, none where the clip itself asks."""
    if task not in tasks.asked_in_words:
        return ()
    if style == "tags":
        return (tag_prompt(tasks, task, clip),)
    return tuple(fill(text, clip) for text in tasks[task].training_prompts)


def evaluation_prompt(
    tasks: TaskTable, task: str, clip: PackedClip, asked_with: AskedWith = "canonical"
) -> str:
    """Return the prompt that evaluation asks with; held-out ones take turns over the clips."""
    if asked_with == "tags":
        return tag_prompt(tasks, task, clip)
    spec = tasks[task]
    if asked_with == "canonical":
        return fill(spec.prompt or "", clip)
    turn = int(digest_of(clip.id)[:8], 16)
    return fill(spec.held_out[turn % len(spec.held_out)], clip)


def check_held_out(tasks: TaskTable, asked_with: AskedWith) -> None:
    """Refuse to ask with held-out prompts where a task has none.

    Raises:
        TaskError: with the tasks that lack them.
    """
    without = [name for name in tasks.asked_in_words if not tasks[name].held_out]
    if asked_with == "held_out" and without:
        raise TaskError(
            f"ingest.suites.asked_with is held_out, and {', '.join(without)} has no held_out "
            "prompts. Declare some with the task, or ask with the canonical ones."
        )


def held_out_fragments(tasks: TaskTable) -> tuple[str, ...]:
    """Return what tells each held-out prompt from all others: its longest part of plain words."""
    return tuple(fragment(text) for spec in tasks.values() for text in spec.held_out)


def chat_question(spec: TaskSpec, clip: PackedClip) -> str:
    """Return what the user writes below a clip."""
    return fill(spec.chat_questions[len(clip.id) % len(spec.chat_questions)], clip)


def chat_answer(spec: TaskSpec, answer: str) -> str:
    """Return the sentence in which the assistant gives a target."""
    return spec.answer.format(answer=answer)


def answer_to_command(tasks: TaskTable, phrase: str, targets: Mapping[str, str]) -> str | None:
    """Return what the assistant says when `phrase` is spoken over a sound with these targets.

    None where the command makes no sense for the sound.
    """
    for task, spec in tasks.items():
        if phrase in spec.commands and task in targets:
            if replies := spec.commands[phrase]:
                return replies.get(targets[task])
            return chat_answer(spec, targets[task])
    return None
