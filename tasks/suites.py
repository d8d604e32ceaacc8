"""Evaluation suites: held-out questions with their references."""

import random
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.records import Conversation, EvaluationItem, Mode, PackedClip, Task
from tasks.dialogues import completion, draw_at_most, is_single_digit
from tasks.prompts import AskedWith, evaluation_prompt

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
NUM_SUITES = len(_METRICS) + 3
"""At most: one a task, and the spoken ones: voice_chat, spoken_command, dual_mode."""
_MODES: tuple[Mode, ...] = ("voice_chat", "audio_analysis")


class SuiteRecipe(BaseModel):
    """How large the suites are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: int = Field(150, ge=1, description="most items of a suite")
    asked_with: AskedWith = Field(
        "canonical",
        description="the published prompt, paraphrases that training never sees, or tags",
    )
    seed: int = 0


def make_suites(
    clips: Sequence[PackedClip], dialogues: Sequence[Conversation], recipe: SuiteRecipe
) -> dict[str, list[EvaluationItem]]:
    """Suites for all that a corpus has test clips for; closed sets are the whole corpus's."""
    conversations: dict[str, list[Conversation]] = {}
    for task in _METRICS:
        conversations[task] = [
            completion(clip, task, evaluation_prompt(task, clip, recipe.asked_with))
            for clip in clips
            if clip.split == "test" and task in clip.targets and _is_asked(clip, task)
        ]
    single = [d for d in dialogues if len(d.turns) == 2]
    for name in ("voice_chat", "spoken_command"):
        conversations[name] = [d for d in single if d.split == "test" and d.task == name]
    suites: dict[str, list[EvaluationItem]] = {}
    for name, found in conversations.items():
        metric = _METRICS.get(name, "accuracy")  # type: ignore[call-overload]
        answers = _answers(clips, name) or tuple(
            sorted({d.answer for d in single if d.task == name})
        )
        choices = answers if metric.endswith("accuracy") else ()
        draw = random.Random(f"suite {name} {recipe.seed}")
        if found:
            kept = draw_at_most(draw, found, recipe.items)
            suites[name] = [_item(conversation, name, metric, choices) for conversation in kept]
    by_mode = {mode: tuple(sorted({d.answer for d in single if d.mode == mode})) for mode in _MODES}
    spoken = suites.get("voice_chat", []) + suites.get("spoken_command", [])
    if spoken:
        suites["dual_mode"] = [
            _item(c, "dual_mode", "dual_mode", by_mode[c.mode])
            for c in (item.conversation for item in spoken)
            if c.mode is not None
        ]
    return suites


def _item(
    conversation: Conversation, suite: str, metric: str, choices: tuple[str, ...]
) -> EvaluationItem:
    return EvaluationItem.model_validate(
        {"conversation": conversation, "suite": suite, "metric": metric, "choices": choices}
    )


def _answers(clips: Iterable[PackedClip], task: str) -> tuple[str, ...]:
    found = {clip.targets.get(task) for clip in clips}  # type: ignore[call-overload]
    return tuple(sorted(answer for answer in found if answer))


def _is_asked(clip: PackedClip, task: Task) -> bool:
    """Mixed clips are asked by voice only, single digits inside strings only. Spoken questions are
    no test of transcription: their sentences are split by voice and occur in training.
    """
    if task == "digits":
        return not is_single_digit(clip)
    return clip.kind not in ("command", "question")
