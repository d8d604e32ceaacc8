"""Evaluation suites: held-out questions with their references."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field

from data_contracts.recipe import Recipe
from data_contracts.records import Conversation, EvaluationItem, Mode, PackedClip, Task
from tasks.conversations.dialogues import CONVERSATION, completion, is_single_digit
from tasks.conversations.prompts import AskedWith, evaluation_prompt
from tasks.conversations.stream_sampling import pick, places_at_most

_METRICS: Mapping[Task, str] = {
    "digits": "wer",
    "sound": "balanced_accuracy",
    "instrument": "balanced_accuracy",
    "family": "balanced_accuracy",
    "vocal": "balanced_accuracy",
    "lid": "balanced_accuracy",
    "ser": "accuracy",
    "choice": "choice",
    "asr": "cer",
    "s2tt": "bleu",
    "caption": "bleu",
}
_SPOKEN = ("voice_chat", "spoken_command")
NUM_SUITES = len(_METRICS) + 3
"""At most: one a task, and the spoken ones: voice_chat, spoken_command, dual_mode."""
_MODES: tuple[Mode, ...] = ("voice_chat", "audio_analysis")


class SuiteRecipe(Recipe):
    """How large the suites are."""

    items: int = Field(150, ge=1)
    """Most items of a suite."""
    asked_with: AskedWith = "canonical"
    """The published prompt, paraphrases that training never sees, or tags."""
    seed: int = 0


def make_suites(
    clips: Iterable[PackedClip], dialogues: Iterable[Conversation], recipe: SuiteRecipe
) -> dict[str, list[EvaluationItem]]:
    """Suites for all that a corpus has test clips for; closed sets are the whole corpus's.

    `clips` and `dialogues` are gone through twice and never held.
    """

    def questions() -> Iterator[tuple[str, PackedClip | Conversation]]:
        for clip in clips:
            if clip.split == "test":
                yield from ((t, clip) for t in clip.targets if t in _METRICS and _is_asked(clip, t))
        for dialogue in dialogues:
            if dialogue.task in _SPOKEN and dialogue.split == "test" and len(dialogue.turns) == 2:
                yield dialogue.task, dialogue

    counts = Counter(name for name, _ in questions())
    names = [name for name in (*_METRICS, *_SPOKEN) if counts[name]]
    wanted = {
        name: places_at_most(
            random.Random(f"suite {name} {recipe.seed}"), counts[name], recipe.items
        )
        for name in names
    }
    picked = pick(questions(), wanted)
    answers, by_mode = _closed_sets(clips, dialogues)
    suites: dict[str, list[EvaluationItem]] = {}
    for name in names:
        metric = _METRICS.get(name, "accuracy")  # type: ignore[call-overload]
        choices = answers.get(name, ()) if metric.endswith("accuracy") else ()
        asked = (_asked(found, name, recipe.asked_with) for found in picked[name])
        suites[name] = [_item(conversation, name, metric, choices) for conversation in asked]
    if spoken := [item for name in _SPOKEN for item in suites.get(name, [])]:
        suites["dual_mode"] = [
            _item(c, "dual_mode", "dual_mode", by_mode[c.mode])
            for c in (item.conversation for item in spoken)
            if c.mode is not None
        ]
    return suites


def _asked(found: PackedClip | Conversation, name: str, asked_with: AskedWith) -> Conversation:
    if isinstance(found, Conversation):
        return found
    task: Task = name  # type: ignore[assignment]
    return completion(found, task, evaluation_prompt(task, found, asked_with))


def _closed_sets(
    clips: Iterable[PackedClip], dialogues: Iterable[Conversation]
) -> tuple[dict[str, tuple[str, ...]], dict[Mode, tuple[str, ...]]]:
    """All answers of the suites that compare with a closed set, and those of each mode.

    What people wrote in dialogues of their own is no closed set.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    spoken: dict[str, set[str]] = defaultdict(set)
    by_mode: dict[Mode, set[str]] = {mode: set() for mode in _MODES}
    closed = {task for task, metric in _METRICS.items() if metric.endswith("accuracy")}
    for clip in clips:
        for task, answer in clip.targets.items():
            if answer and (task in closed or task in _SPOKEN):
                labels[task].add(answer)
    for dialogue in dialogues:
        if len(dialogue.turns) == 2 and dialogue.task != CONVERSATION:
            spoken[dialogue.task].add(dialogue.answer)
            if dialogue.mode is not None:
                by_mode[dialogue.mode].add(dialogue.answer)
    answers = {name: tuple(sorted(labels[name] or spoken[name])) for name in (*closed, *_SPOKEN)}
    return answers, {mode: tuple(sorted(found)) for mode, found in by_mode.items()}


def _item(
    conversation: Conversation, suite: str, metric: str, choices: tuple[str, ...]
) -> EvaluationItem:
    return EvaluationItem.model_validate(
        {"conversation": conversation, "suite": suite, "metric": metric, "choices": choices}
    )


def _is_asked(clip: PackedClip, task: Task) -> bool:
    """Mixed clips are asked by voice only, single digits inside strings only. Spoken questions are
    no test of transcription: their sentences are split by voice and occur in training.
    """
    if task == "digits":
        return not is_single_digit(clip)
    return clip.kind not in ("command", "question")
