"""Evaluation suites: held-out questions with their references."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from pydantic import Field

from data_contracts.answer_records import EvaluationItem
from data_contracts.recipe import Recipe
from data_contracts.records import Conversation, Mode, PackedClip
from tasks.conversations.dialogues import completion, is_single_digit
from tasks.conversations.prompts import AskedWith, evaluation_prompt
from tasks.conversations.stream_sampling import draw_indices, pick
from tasks.conversations.task_table import CONVERSATION, SPOKEN_COMMAND, TaskTable

_METRICS = {SPOKEN_COMMAND: "accuracy", CONVERSATION: "chrf"}
"""Of suites of several tasks. What people answer freely is mostly too short for BLEU's 4-grams."""
_MODES: tuple[Mode, ...] = ("voice_chat", "audio_analysis")


class SuiteRecipe(Recipe):
    """Size of the suites and the words in which they ask."""

    items: int = Field(150, ge=1)
    """Most items of a suite."""
    asked_with: AskedWith = "canonical"
    """The published prompt, paraphrases that training never sees, or tags."""
    seed: int = 0
    """Seed of the draw of items."""


def num_suites(tasks: TaskTable) -> int:
    """Return how many suites a corpus has at most: one a task and three of several tasks."""
    return len(tasks) + len((SPOKEN_COMMAND, "dual_mode", CONVERSATION))


def make_suites(
    clips: Iterable[PackedClip],
    dialogues: Iterable[Conversation],
    tasks: TaskTable,
    recipe: SuiteRecipe,
) -> dict[str, list[EvaluationItem]]:
    """Make suites of all that a corpus has test clips for; closed sets are the whole corpus's.

    Users' own conversations are asked for their last answer, after the answers that they have.

    `clips` and `dialogues` are iterated twice and never held in memory.
    """
    in_words = tasks.asked_in_words
    spoken = (*tasks.asked_by_voice, SPOKEN_COMMAND)

    def questions() -> Iterator[tuple[str, PackedClip | Conversation]]:
        for clip in clips:
            if clip.split == "test":
                yield from ((t, clip) for t in clip.targets if t in in_words and _is_asked(clip, t))
        for dialogue in dialogues:
            is_asked = dialogue.task in spoken and len(dialogue.turns) == 2
            if dialogue.split == "test" and (is_asked or dialogue.task == CONVERSATION):
                yield dialogue.task, dialogue

    counts = Counter(name for name, _ in questions())
    names = [name for name in (*in_words, *spoken, CONVERSATION) if counts[name]]
    wanted = {
        name: draw_indices(random.Random(f"suite {name} {recipe.seed}"), counts[name], recipe.items)
        for name in names
    }
    picked = pick(questions(), wanted)
    answers, by_mode = _closed_sets(clips, dialogues, tasks)
    suites: dict[str, list[EvaluationItem]] = {}
    for name in names:
        metric = _METRICS.get(name) or tasks[name].metric
        asked = (_asked(drawn, name, tasks, recipe.asked_with) for drawn in picked[name])
        suites[name] = [_item(each, name, metric, answers.get(name, ())) for each in asked]
    if items := [item for name in spoken for item in suites.get(name, [])]:
        suites["dual_mode"] = [
            _item(c, "dual_mode", "dual_mode", by_mode[c.mode])
            for c in (item.conversation for item in items)
            if c.mode is not None
        ]
    return suites


def _asked(
    drawn: PackedClip | Conversation, task: str, tasks: TaskTable, asked_with: AskedWith
) -> Conversation:
    if isinstance(drawn, Conversation):
        return drawn
    return completion(drawn, task, evaluation_prompt(tasks, task, drawn, asked_with))


def _closed_sets(
    clips: Iterable[PackedClip], dialogues: Iterable[Conversation], tasks: TaskTable
) -> tuple[dict[str, tuple[str, ...]], dict[Mode, tuple[str, ...]]]:
    """Return all answers of the suites that compare with a closed set, and those of each mode.

    What people wrote in dialogues of their own is no closed set.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    said: dict[str, set[str]] = defaultdict(set)
    by_mode: dict[Mode, set[str]] = {mode: set() for mode in _MODES}
    declared = {name: spec.choices for name, spec in tasks.items() if spec.kind == "label"}
    for clip in clips:
        for task, answer in clip.targets.items():
            if answer and task in declared:
                labels[task].add(answer)
    for dialogue in dialogues:
        if len(dialogue.turns) == 2 and dialogue.task != CONVERSATION:
            said[dialogue.task].add(dialogue.answer)
            if dialogue.mode is not None:
                by_mode[dialogue.mode].add(dialogue.answer)
    answers = {
        name: choices or tuple(sorted(labels[name] or said[name]))
        for name, choices in (*declared.items(), (SPOKEN_COMMAND, ()))
    }
    return answers, {mode: tuple(sorted(texts)) for mode, texts in by_mode.items()}


def _item(
    conversation: Conversation, suite: str, metric: str, choices: tuple[str, ...]
) -> EvaluationItem:
    return EvaluationItem.model_validate(
        {"conversation": conversation, "suite": suite, "metric": metric, "choices": choices}
    )


def _is_asked(clip: PackedClip, task: str) -> bool:
    """Return whether a suite asks a clip for a task.

    Mixed clips are asked by voice only, single digits inside strings only. Spoken questions are no
    test of transcription: their sentences are split by voice and occur in training.
    """
    if task == "digits":
        return not is_single_digit(clip)
    return clip.kind not in ("command", "question")
