"""Conversations made of labelled clips: pre-training examples and dialogues of both modes.

Voice chat and audio analysis are never told apart by a system prompt or a marker: what the user
says decides (Qwen2-Audio report, section 2).
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated

from pydantic import Field

from data_contracts.recipe import Recipe
from data_contracts.records import Conversation, Mode, PackedClip, Split, TaskName, Turn
from tasks.conversations.given import given_conversation
from tasks.conversations.prompts import (
    TWO_CLIPS_ANSWER,
    TWO_CLIPS_QUESTION,
    answer_to_command,
    chat_answer,
    chat_question,
)
from tasks.conversations.stream_sampling import draw_indices, pick
from tasks.conversations.task_table import SPOKEN_COMMAND, TaskError, TaskTable

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class DialogueRecipe(Recipe):
    """Number of conversations made of the corpus, besides one for each question and command."""

    per_task: int = Field(400, ge=0)
    """Most dialogues with a typed question, for each task and split."""
    limits: dict[TaskName, Annotated[int, Field(ge=0)]] = Field(default={})
    """Most such dialogues of these tasks, in place of `per_task`; 0: no chat is about it."""
    multi_turn: int = Field(400, ge=0)
    """Number of dialogues of two exchanges, a clip in each."""
    two_clips: int = Field(200, ge=0)
    """Number of dialogues with two clips in one turn."""
    prompts: dict[Split, Annotated[int, Field(ge=0)]] = Field(
        default={"train": 160, "dev": 240, "test": 80}
    )
    """Number of prompts to collect preferences on, by split; those of test only measure."""
    prompt_tasks: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    """Task of dialogues -> part of the prompts, in proportion; empty: all tasks evenly."""
    seed: int = 0
    """Seed of all draws."""


def completion(clip: PackedClip, task: TaskName, prompt: str) -> Conversation:
    """Return the pre-training form of one clip and task."""
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
            yield _dialogue(clip, SPOKEN_COMMAND, "audio_analysis", "", spoken)
        return
    for task, answer in clip.targets.items():
        spec = tasks[task]
        if spec.chat_questions and not is_single_digit(clip):
            question, reply = chat_question(spec, clip), chat_answer(spec, answer)
            yield _dialogue(clip, task, "audio_analysis", question, reply)


def make_dialogues(
    clips: Iterable[PackedClip], tasks: TaskTable, recipe: DialogueRecipe
) -> Iterator[Conversation]:
    """Yield all dialogues of a corpus, in a fixed order; the parts of one come from one split.

    `clips` is iterated several times and never held in memory; only what is drawn is, which the
    recipe bounds. The users' own dialogues are passed on one by one; those with a worse answer are
    pairs, and left out.
    """
    counts: Counter[_Pool] = Counter()
    given: set[Split] = set()
    for clip in clips:
        counts.update(pool for pool, _ in _material(clip, tasks))
        if _is_dialogue(clip):
            given.add(clip.split)
    plans = {split: _plan(split, counts, recipe) for split in SPLITS}
    wanted = {pool: indices for plan in plans.values() for pool, indices in plan.indices.items()}
    picked = pick((drawn for clip in clips for drawn in _material(clip, tasks)), wanted)
    for split, plan in plans.items():
        if split in given:
            own = (clip for clip in clips if clip.split == split and _is_dialogue(clip))
            yield from map(given_conversation, own)
        kept = [picked[split, task] for task in plan.tasks]
        yield from chain.from_iterable(kept)
        singles = [each for each in chain.from_iterable(kept) if each.task != "caption"]
        for number, (first, second) in enumerate(plan.exchanges):
            yield _multi_turn(number, singles[first], singles[second])
        sounds = dict(zip(plan.sounds, picked[split, _SOUNDS], strict=True))
        for number, (first, second) in enumerate(plan.sound_pairs):
            yield _two_clips(number, sounds[first], sounds[second])


def _is_dialogue(clip: PackedClip) -> bool:
    return bool(clip.conversation) and clip.rejected is None


_SOUNDS = "sounds for two clips"
_Pool = tuple[Split, str]
"""Split, and a task of single dialogues or `_SOUNDS`."""


def _material(clip: PackedClip, tasks: TaskTable) -> Iterator[tuple[_Pool, Conversation]]:
    """Yield the dialogues that a clip gives, each with the pool from which it may be drawn."""
    for dialogue in single_turn(clip, tasks):
        yield (clip.split, dialogue.task), dialogue
    if clip.split == "train" and clip.kind == "sound" and "sound" in clip.targets:
        yield (clip.split, _SOUNDS), completion(clip, "sound", "")


@dataclass(frozen=True)
class _Plan:
    """What is drawn in a split, as indices into its pools."""

    tasks: list[str]
    indices: Mapping[_Pool, Sequence[int]]
    exchanges: list[list[int]]
    """Pairs of indices into the kept single dialogues, captions left out."""
    sounds: list[int]
    sound_pairs: list[list[int]]


def _plan(split: Split, counts: Mapping[_Pool, int], recipe: DialogueRecipe) -> _Plan:
    draw = random.Random(f"dialogues {split} {recipe.seed}")
    tasks = sorted(task for its, task in counts if its == split and task != _SOUNDS)
    most = {task: recipe.limits.get(task, recipe.per_task) for task in tasks}
    indices: dict[_Pool, Sequence[int]] = {
        (split, task): draw_indices(draw, counts[split, task], most[task]) for task in tasks
    }
    num_singles = sum(len(indices[split, task]) for task in tasks if task != "caption")
    num_sounds = counts.get((split, _SOUNDS), 0)
    exchanges, pairs = [], []
    if split == "train" and num_singles >= 2:
        exchanges = [draw.sample(range(num_singles), 2) for _ in range(recipe.multi_turn)]
    if split == "train" and num_sounds >= 2:
        pairs = [draw.sample(range(num_sounds), 2) for _ in range(recipe.two_clips)]
    sounds = sorted({index for pair in pairs for index in pair})
    indices[split, _SOUNDS] = sounds
    return _Plan(tasks, indices, exchanges, sounds, pairs)


def make_preference_prompts(
    dialogues: Iterable[Conversation], recipe: DialogueRecipe
) -> list[Conversation]:
    """Draw single-exchange dialogues, by the tasks' weights, whose answers are to be ranked.

    They keep their reference answer, which the ranking needs. Prompts of the test split measure
    the preference accuracy. `dialogues` is iterated twice and never held in memory.

    Raises:
        TaskError: a task has a weight and no such dialogue.
    """

    def singles() -> Iterator[tuple[tuple[Split, str], Conversation]]:
        return (((d.split, d.task), d) for d in dialogues if len(d.turns) == 2)

    counts = Counter(key for key, _ in singles())
    there = sorted({task for _, task in counts})
    weights = recipe.prompt_tasks or dict.fromkeys(there, 1.0)
    if absent := sorted(task for task, weight in weights.items() if weight and task not in there):
        raise TaskError(
            f"ingest.dialogues.prompt_tasks weighs {absent}, of which the corpus has no dialogue "
            f"of one exchange; it has some of {there}. Leave them out, or add recordings of them."
        )
    wanted: dict[tuple[Split, str], Sequence[int]] = {}
    for split, count in sorted(recipe.prompts.items()):
        draw = random.Random(f"prompts {split} {recipe.seed}")
        tasks = sorted(task for its, task in counts if its == split and weights.get(task))
        total = sum(weights[task] for task in tasks)
        for task in tasks:
            share = math.ceil(count * weights[task] / total)
            wanted[split, task] = draw_indices(draw, counts[split, task], share)
    return list(chain.from_iterable(pick(singles(), wanted).values()))


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
    """Return two exchanges in turn, of any modes: the second may switch the mode."""
    return Conversation(
        id=f"multi-turn-{number:05d}",
        format="chat",
        turns=first.turns + second.turns,
        task="multi_turn",
        mode=second.mode,
        split=first.split,
    )


def _two_clips(number: int, first: Conversation, second: Conversation) -> Conversation:
    """Return a dialogue about two sounds in one turn, to be named in order."""
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
    """Return whether a clip is a recording of one digit, a part for digit strings."""
    return clip.kind == "digit" and clip.origin == (clip.id,)
