"""Conversations out of labelled clips: pre-training examples and dialogues of both modes.

Voice chat and audio analysis are never told apart by a system prompt or a marker: what the user
says decides (Qwen2-Audio report, section 2).
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from data_contracts.recipe import Recipe
from data_contracts.records import Conversation, Mode, PackedClip, Split, TaskName, Turn
from tasks.conversations.prompts import (
    TWO_CLIPS_ANSWER,
    TWO_CLIPS_QUESTION,
    answer_to_command,
    chat_answer,
    chat_question,
)
from tasks.conversations.stream_sampling import pick, places_at_most
from tasks.conversations.task_table import CONVERSATION, TaskTable

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class DialogueRecipe(Recipe):
    """How many conversations are made of the corpus, besides one for each question and command."""

    per_task: int = Field(400, ge=0)
    """Most text-question dialogues a task and split."""
    multi_turn: int = Field(400, ge=0)
    """Dialogues of two exchanges, a clip in each."""
    two_clips: int = Field(200, ge=0)
    """Dialogues with two clips in one turn."""
    prompts: dict[Split, Annotated[int, Field(ge=0)]] = Field(
        default={"train": 160, "dev": 240, "test": 80}
    )
    """Prompts to collect preferences on; those of test only measure."""
    seed: int = 0


def completion(clip: PackedClip, task: TaskName, prompt: str) -> Conversation:
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


def single_turn(clip: PackedClip, tasks: TaskTable) -> Iterable[Conversation]:
    """Yield all one-exchange dialogues of a clip: spoken question, spoken command, typed one."""
    for task, answer in clip.targets.items():
        if answer and tasks[task].prompt is None:
            yield _dialogue(clip, task, "voice_chat", "", answer)
    if clip.kind == "command":
        if spoken := answer_to_command(tasks, clip.phrase or "", clip.targets):
            yield _dialogue(clip, "spoken_command", "audio_analysis", "", spoken)
        return
    for task, answer in clip.targets.items():
        spec = tasks[task]
        if spec.questions and not is_single_digit(clip):
            question, reply = chat_question(spec, clip), chat_answer(spec, answer)
            yield _dialogue(clip, task, "audio_analysis", question, reply)


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


def make_dialogues(
    clips: Iterable[PackedClip], tasks: TaskTable, recipe: DialogueRecipe
) -> Iterator[Conversation]:
    """All dialogues of a corpus, in a fixed order; the parts of one come from one split.

    `clips` is gone through several times and never held: what is drawn is, and that is bounded by
    the recipe. The users' own dialogues are passed on one by one.
    """
    counts: Counter[_Pool] = Counter()
    given: set[Split] = set()
    for clip in clips:
        counts.update(pool for pool, _ in _material(clip, tasks))
        if clip.conversation:
            given.add(clip.split)
    plans = {split: _plan(split, counts, recipe) for split in SPLITS}
    wanted = {pool: places for plan in plans.values() for pool, places in plan.places.items()}
    picked = pick((drawn for clip in clips for drawn in _material(clip, tasks)), wanted)
    for split, plan in plans.items():
        if split in given:
            yield from (given_conversation(c) for c in clips if c.split == split and c.conversation)
        kept = [picked[split, task] for task in plan.tasks]
        yield from (dialogue for found in kept for dialogue in found)
        singles = [dialogue for found in kept for dialogue in found if dialogue.task != "caption"]
        for number, (first, second) in enumerate(plan.exchanges):
            yield _multi_turn(number, singles[first], singles[second])
        sounds = dict(zip(plan.sounds, picked[split, _SOUNDS], strict=True))
        for number, (first, second) in enumerate(plan.sound_pairs):
            yield _two_clips(number, sounds[first], sounds[second])


_SOUNDS = "sounds for two clips"
_Pool = tuple[Split, str]
"""Split and task of single dialogues, or `_SOUNDS`."""


def _material(clip: PackedClip, tasks: TaskTable) -> Iterator[tuple[_Pool, Conversation]]:
    """What a clip gives, by what it may be drawn for."""
    for dialogue in single_turn(clip, tasks):
        yield (clip.split, dialogue.task), dialogue
    if clip.split == "train" and clip.kind == "sound" and "sound" in clip.targets:
        yield (clip.split, _SOUNDS), completion(clip, "sound", "")


@dataclass(frozen=True)
class _Plan:
    """What is drawn in a split, as places."""

    tasks: list[str]
    places: Mapping[_Pool, Sequence[int]]
    exchanges: list[list[int]]
    """Pairs of kept single dialogues, captions left out."""
    sounds: list[int]
    sound_pairs: list[list[int]]


def _plan(split: Split, counts: Mapping[_Pool, int], recipe: DialogueRecipe) -> _Plan:
    draw = random.Random(f"dialogues {split} {recipe.seed}")
    tasks = sorted(task for where, task in counts if where == split and task != _SOUNDS)
    places: dict[_Pool, Sequence[int]] = {
        (split, task): places_at_most(draw, counts[split, task], recipe.per_task) for task in tasks
    }
    num_singles = sum(len(places[split, task]) for task in tasks if task != "caption")
    num_sounds = counts.get((split, _SOUNDS), 0)
    exchanges, pairs = [], []
    if split == "train" and num_singles >= 2:
        exchanges = [draw.sample(range(num_singles), 2) for _ in range(recipe.multi_turn)]
    if split == "train" and num_sounds >= 2:
        pairs = [draw.sample(range(num_sounds), 2) for _ in range(recipe.two_clips)]
    sounds = sorted({place for pair in pairs for place in pair})
    places[split, _SOUNDS] = sounds
    return _Plan(tasks, places, exchanges, sounds, pairs)


def make_preference_prompts(
    dialogues: Iterable[Conversation], recipe: DialogueRecipe
) -> list[Conversation]:
    """Single-exchange dialogues, evenly over tasks, whose answers are to be ranked.

    They keep their reference answer: the ranking by task metric needs it. Held-out prompts measure
    the preference accuracy. `dialogues` is gone through twice and never held.
    """

    def singles() -> Iterator[tuple[tuple[Split, str], Conversation]]:
        return (((d.split, d.task), d) for d in dialogues if len(d.turns) == 2)

    counts = Counter(key for key, _ in singles())
    wanted: dict[tuple[Split, str], Sequence[int]] = {}
    for split, count in sorted(recipe.prompts.items()):
        draw = random.Random(f"prompts {split} {recipe.seed}")
        tasks = sorted(task for where, task in counts if where == split)
        for task in tasks:
            share = -(-count // len(tasks))
            wanted[split, task] = places_at_most(draw, counts[split, task], share)
    return [dialogue for found in pick(singles(), wanted).values() for dialogue in found]


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


def _multi_turn(number: int, first: Conversation, second: Conversation) -> Conversation:
    """Two exchanges behind one another, of any modes: the second may switch the mode."""
    return Conversation(
        id=f"multi-turn-{number:05d}",
        format="chat",
        turns=first.turns + second.turns,
        task="multi_turn",
        mode=second.mode,
        split=first.split,
    )


def _two_clips(number: int, first: Conversation, second: Conversation) -> Conversation:
    """Two sounds in one turn, to be named in order."""
    answer = TWO_CLIPS_ANSWER.format(first=first.answer, second=second.answer)
    clips = first.clip_ids + second.clip_ids
    return Conversation(
        id=f"two-clips-{number:05d}",
        format="chat",
        turns=(
            Turn(role="user", text=TWO_CLIPS_QUESTION, audio=clips),
            Turn(role="assistant", text=answer),
        ),
        task="two_clips",
        mode="audio_analysis",
        split="train",
    )


def is_single_digit(clip: PackedClip) -> bool:
    """A recording of one digit, which serves as a part of digit strings."""
    return clip.kind == "digit" and clip.origin == (clip.id,)
