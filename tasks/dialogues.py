"""Conversations out of labelled clips: pre-training examples and dialogues of both modes.

Voice chat and audio analysis are never told apart by a system prompt or a marker: what the user
says decides (Qwen2-Audio report, section 2).
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.records import (
    Conversation,
    Mode,
    PackedClip,
    Split,
    Task,
    Turn,
)
from tasks.prompts import (
    CHAT_QUESTIONS,
    TWO_CLIPS_ANSWER,
    TWO_CLIPS_QUESTION,
    answer_to_command,
    chat_answer,
    chat_question,
)

T = TypeVar("T")

CONVERSATION = "conversation"
DIALOGUE_TASKS = ("spoken_command", "multi_turn", "two_clips", CONVERSATION)
"""Tasks of dialogues besides those of single clips; the last are the user's own dialogues."""


class DialogueRecipe(BaseModel):
    """How many conversations are made of the corpus, besides one for each question and command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_task: int = Field(400, ge=0, description="most text-question dialogues a task and split")
    multi_turn: int = Field(400, ge=0, description="dialogues of two exchanges, a clip in each")
    two_clips: int = Field(200, ge=0, description="dialogues with two clips in one turn")
    prompts: dict[Split, Annotated[int, Field(ge=0)]] = Field(
        default={"train": 160, "dev": 240, "test": 80},
        description="prompts to collect preferences on; those of test only measure",
    )
    seed: int = 0


def completion(clip: PackedClip, task: Task, prompt: str) -> Conversation:
    """The pre-training form of one clip and task."""
    return Conversation(
        id=f"{clip.id}/{task}",
        format="completion",
        turns=(
            Turn(role="user", text=prompt, audio=(clip.id,)),
            Turn(role="assistant", text=clip.targets[task]),
        ),
        task=task,
        split=clip.split,
    )


def single_turn(clip: PackedClip) -> Iterable[Conversation]:
    """All one-exchange dialogues of a clip: spoken question, spoken command or typed question."""
    if answer := clip.targets.get("voice_chat"):
        yield _dialogue(clip, "voice_chat", "voice_chat", "", answer)
    if clip.kind == "command":
        if spoken := answer_to_command(clip.phrase or "", clip.targets):
            yield _dialogue(clip, "spoken_command", "audio_analysis", "", spoken)
        return
    for task in CHAT_QUESTIONS:
        if task in clip.targets and not is_single_digit(clip):
            reply = chat_answer(task, clip.targets[task])
            yield _dialogue(clip, task, "audio_analysis", chat_question(task, clip), reply)


def given_conversation(clip: PackedClip) -> Conversation:
    """The user's own dialogue of a clip."""
    turns = list(clip.conversation)
    first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if first is not None and not any(turn.audio for turn in turns):
        turns[first] = turns[first].model_copy(update={"audio": (clip.id,)})
    asked_in_words = any(turn.role == "user" and turn.text for turn in turns)
    return Conversation(
        id=f"{clip.id}/{CONVERSATION}",
        format="chat",
        turns=tuple(turns),
        task=CONVERSATION,
        mode="audio_analysis" if asked_in_words else "voice_chat",
        split=clip.split,
    )


def make_dialogues(clips: Sequence[PackedClip], recipe: DialogueRecipe) -> list[Conversation]:
    """All dialogues of a corpus, in a fixed order; the parts of one come from one split."""
    dialogues: list[Conversation] = []
    for split in ("train", "dev", "test"):
        draw = random.Random(f"dialogues {split} {recipe.seed}")
        by_task: dict[str, list[Conversation]] = defaultdict(list)
        for clip in clips:
            if clip.split == split:
                if clip.conversation:
                    dialogues.append(given_conversation(clip))
                for dialogue in single_turn(clip):
                    by_task[dialogue.task].append(dialogue)
        kept = {
            task: draw_at_most(draw, found, recipe.per_task)
            for task, found in sorted(by_task.items())
        }
        dialogues += [dialogue for found in kept.values() for dialogue in found]
        if split == "train":
            singles = [d for task, found in kept.items() if task != "caption" for d in found]
            dialogues += _multi_turn(draw, singles, recipe.multi_turn)
            dialogues += _two_clips(draw, clips, recipe.two_clips)
    return dialogues


def make_preference_prompts(
    dialogues: Sequence[Conversation], recipe: DialogueRecipe
) -> list[Conversation]:
    """Single-exchange dialogues, evenly over tasks, whose answers are to be ranked.

    They keep their reference answer: the ranking by task metric needs it. Held-out prompts measure
    the preference accuracy.
    """
    chosen: list[Conversation] = []
    for split, count in sorted(recipe.prompts.items()):
        draw = random.Random(f"prompts {split} {recipe.seed}")
        by_task: dict[str, list[Conversation]] = defaultdict(list)
        for dialogue in dialogues:
            if dialogue.split == split and len(dialogue.turns) == 2:
                by_task[dialogue.task].append(dialogue)
        if not by_task:
            continue
        share = -(-count // len(by_task))
        for _, found in sorted(by_task.items()):
            chosen += draw_at_most(draw, found, share)
    return chosen


def _dialogue(clip: PackedClip, task: str, mode: Mode, question: str, answer: str) -> Conversation:
    return Conversation(
        id=f"{clip.id}/{task}-chat",
        format="chat",
        turns=(
            Turn(role="user", text=question, audio=(clip.id,)),
            Turn(role="assistant", text=answer),
        ),
        task=task,
        mode=mode,
        split=clip.split,
    )


def _multi_turn(
    draw: random.Random, singles: Sequence[Conversation], count: int
) -> list[Conversation]:
    """Two exchanges behind one another, of any modes: the second may switch the mode."""
    if len(singles) < 2:
        return []
    pairs = [draw.sample(singles, 2) for _ in range(count)]
    return [
        Conversation(
            id=f"multi-turn-{i:05d}",
            format="chat",
            turns=first.turns + second.turns,
            task="multi_turn",
            mode=second.mode,
            split=first.split,
        )
        for i, (first, second) in enumerate(pairs)
    ]


def _two_clips(draw: random.Random, clips: Sequence[PackedClip], count: int) -> list[Conversation]:
    """Two sounds in one turn, to be named in order."""
    sounds = [c for c in clips if c.split == "train" and c.kind == "sound" and "sound" in c.targets]
    if len(sounds) < 2:
        return []
    pairs = [draw.sample(sounds, 2) for _ in range(count)]
    return [
        Conversation(
            id=f"two-clips-{i:05d}",
            format="chat",
            turns=(
                Turn(role="user", text=TWO_CLIPS_QUESTION, audio=(first.id, second.id)),
                Turn(
                    role="assistant",
                    text=TWO_CLIPS_ANSWER.format(
                        first=first.targets["sound"], second=second.targets["sound"]
                    ),
                ),
            ),
            task="two_clips",
            mode="audio_analysis",
            split="train",
        )
        for i, (first, second) in enumerate(pairs)
    ]


def is_single_digit(clip: PackedClip) -> bool:
    """A recording of one digit, which serves as a part of digit strings."""
    return clip.kind == "digit" and clip.origin == (clip.id,)


def draw_at_most(draw: random.Random, found: Sequence[T], count: int) -> list[T]:
    """At most `count` of `found`, in their order."""
    if len(found) <= count:
        return list(found)
    return [found[i] for i in sorted(draw.sample(range(len(found)), count))]
