"""Records as tables: the columns that the contracts in `suites.py` test.

What a rule needs and a record does not hold is derived here, in whole columns. A text column that
is named after a problem (`phrase_leaks_into`, `empty_targets`) is null where all is well and tells
the problem otherwise, so that a plain "must be null" tests it and its values are the examples.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import (
    MIN_SECONDS,
    SAMPLES_PER_SECOND,
    Clip,
    Conversation,
    EvaluationItem,
    PackedClip,
    Prediction,
    PreferencePair,
    Split,
    Task,
    answers_about_the_whole,
)

_SILENT_SECONDS = 0.15
"""Silence around the speech of a trimmed recording, which no character accounts for."""
_DENSE_SCRIPTS = frozenset({"zh", "ja", "ko"})
"""Languages whose characters are words or syllables: no common characters per second."""
_PHRASE_TASKS: frozenset[Task] = frozenset({"asr", "s2tt"})
_SPEAKER_TASKS: tuple[Task, ...] = ("lid", "digits", "voice_chat")
_SPLIT_ORDER = {split: rank for rank, split in enumerate(get_args(Split))}


def manifest_frame(clips: Sequence[Clip]) -> pd.DataFrame:
    """A row for each clip of a manifest, for the contract MANIFEST."""
    frame = pd.DataFrame(
        {
            "id": _text(clip.id for clip in clips),
            "split": _text(clip.split for clip in clips),
            "language": _text(clip.language for clip in clips),
            "text_without_language": _text(_text_without_language(clip) for clip in clips),
            "empty_targets": _text(_empty_targets(clip) for clip in clips),
        }
    )
    return frame.assign(**_split_leaks(clips))


def shard_index_frame(clips: Sequence[PackedClip], max_seconds: float) -> pd.DataFrame:
    """A row for each packed clip, for the contract SHARD_INDEX; `max_seconds` is the limit."""
    seconds = np.array([clip.num_samples for clip in clips], float) / SAMPLES_PER_SECOND
    ids = _text(clip.id for clip in clips)
    too_long = (
        f"{s:.4f} s, at most {max_seconds:g} s" if s > max_seconds else None for s in seconds
    )
    same = _text(clip.sha256 + json.dumps(clip.targets, sort_keys=True) for clip in clips)
    frame = pd.DataFrame(
        {
            "id": ids,
            "split": _text(clip.split for clip in clips),
            "offset": np.array([clip.offset for clip in clips], int),
            "size": np.array([clip.size for clip in clips], int),
            "seconds": seconds,
            "too_long": _text(too_long),
            "cut_answers": _text(_cut_answers(clip) for clip in clips),
            "peak": np.array([clip.peak for clip in clips], float),
            "rms": np.array([clip.rms for clip in clips], float),
            "characters_per_second": characters_per_second(clips),
            "duplicate_of": ids.groupby(same).transform("first").where(same.duplicated()),
        }
    )
    return frame.assign(**_split_leaks(clips), origin_leaks_into=_origin_leaks(clips))


def characters_per_second(clips: Sequence[PackedClip]) -> NDArray[np.float64]:
    """Speaking rate of each clip by its transcript, NaN without one or in a dense script."""
    seconds = np.array([clip.num_samples for clip in clips], float) / SAMPLES_PER_SECOND
    spelled = np.array(
        ["asr" in clip.targets and clip.language not in _DENSE_SCRIPTS for clip in clips], bool
    )
    characters = np.array([len(clip.targets.get("asr", "")) for clip in clips], float)
    # A recording shorter than its silence gets a tiny positive length: implausible, not negative.
    rate = characters / np.maximum(seconds - _SILENT_SECONDS, 1e-3)
    return np.where(spelled, rate, np.nan)


def dialogues_frame(
    conversations: Sequence[Conversation],
    clip_ids: Collection[str],
    held_out: Collection[str] = (),
) -> pd.DataFrame:
    """A row for each conversation, for the contract DIALOGUES.

    Args:
        clip_ids: the known clips.
        held_out: texts that only evaluation may ask with.
    """
    known = frozenset(clip_ids)
    unknown = (
        ", ".join(clip for clip in dialogue.clip_ids if clip not in known)
        for dialogue in conversations
    )
    return pd.DataFrame(
        {
            "id": _text(dialogue.id for dialogue in conversations),
            "mode": _text(dialogue.mode for dialogue in conversations),
            "roles": _text(" ".join(t.role for t in dialogue.turns) for dialogue in conversations),
            "num_clips": np.array([len(dialogue.clip_ids) for dialogue in conversations], int),
            "unknown_audio": _text(clips or None for clips in unknown),
            "empty_answers": _text(_empty_answers(dialogue) for dialogue in conversations),
            "held_out_prompt": _text(_held_out(dialogue, held_out) for dialogue in conversations),
        }
    )


def pairs_frame(pairs: Sequence[PreferencePair]) -> pd.DataFrame:
    """A row for each preference pair, for the contract PAIRS."""
    same_answer = (
        pair.chosen if pair.chosen.strip() == pair.rejected.strip() else None for pair in pairs
    )
    return pd.DataFrame(
        {
            "id": _text(pair.id for pair in pairs),
            "last_role": _text(
                pair.prompt.turns[-1].role if pair.prompt.turns else None for pair in pairs
            ),
            "same_answer": _text(same_answer),
            "margin": np.array([pair.margin for pair in pairs], float),
        }
    )


def training_frame(history: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each logged `{"step", "metrics"}` of a training run, for the contract TRAINING."""
    columns = ("loss", "gradient_norm", "learning_rate")
    return pd.DataFrame(
        {"step": np.array([entry["step"] for entry in history], int)}
        | {name: np.array([entry["metrics"][name] for entry in history], float) for name in columns}
    )


def predictions_frame(
    predictions: Sequence[Prediction], items: Iterable[EvaluationItem]
) -> pd.DataFrame:
    """A row for each prediction and each missing one, for the contract PREDICTIONS.

    Every checkpoint that occurs must answer every item of `items` once. Items are told apart by
    suite and conversation id, since two suites may ask the same question.
    """
    asked = {(item.suite, item.conversation.id) for item in items}
    answered = pd.Series(
        [f"{p.checkpoint}/{p.suite}/{p.id}" for p in predictions], dtype="str", name="answer"
    )
    checkpoints = sorted({p.checkpoint for p in predictions})
    wanted = [f"{name}/{suite}/{item}" for name in checkpoints for suite, item in sorted(asked)]
    missing = sorted(set(wanted) - set(answered))
    strange = [None if math.isfinite(p.score) else str(p.score) for p in predictions]
    unknown = [None if (p.suite, p.id) in asked else f"{p.suite}/{p.id}" for p in predictions]
    nothing = [None] * len(missing)
    return pd.DataFrame(
        {
            "answer": _text([*answered, *missing]),
            "count": [*answered.groupby(answered).transform("size"), *(0 for _ in missing)],
            "unknown_item": _text([*unknown, *nothing]),
            "strange_score": _text([*strange, *nothing]),
        }
    )


def _text(values: Iterable[str | None]) -> pd.Series:
    """A text column that stays one where every value is null."""
    return pd.Series(list(values), dtype="str")


def _text_without_language(clip: Clip) -> str | None:
    """The prompts of transcription and translation name the language that is spoken."""
    tasks = [task for task in ("asr", "s2tt") if task in clip.targets]
    return f"{tasks[0]} text without a language" if tasks and clip.language is None else None


def _empty_targets(clip: Clip) -> str | None:
    return ", ".join(task for task, text in clip.targets.items() if not text.strip()) or None


def _cut_answers(clip: PackedClip) -> str | None:
    """Answers about the whole of a recording, where what was cut off could have been heard."""
    answers = answers_about_the_whole(clip) if clip.cut_seconds >= MIN_SECONDS else ""
    return f"{answers} of {clip.cut_seconds:.1f} s more" if answers else None


def _empty_answers(dialogue: Conversation) -> str | None:
    return (
        ", ".join(
            f"turn {number}"
            for number, turn in enumerate(dialogue.turns, start=1)
            if turn.role == "assistant" and not turn.text.strip()
        )
        or None
    )


def _held_out(dialogue: Conversation, held_out: Collection[str]) -> str | None:
    """The prompt for evaluation alone that a dialogue of another split shows."""
    asked = " ".join(turn.text.lower() for turn in dialogue.turns if turn.role == "user")
    shown = [text for text in held_out if text.lower() in asked]
    return shown[0] if shown and dialogue.split != "test" else None


def _split_leaks(clips: Sequence[Clip] | Sequence[PackedClip]) -> dict[str, pd.Series]:
    """What may not be in two splits: a phrase, a recording, and a voice where voices are learnt."""
    ids, splits = _text(clip.id for clip in clips), _text(clip.split for clip in clips)
    phrases = _text(_phrase_key(clip) for clip in clips)
    recordings = _text(clip.sha256 and f"recording {clip.sha256}" for clip in clips)
    voices = _text(None for _ in clips)
    for task in _SPEAKER_TASKS:
        keys = _text(
            f"{task} speaker {clip.speaker!r}" if task in clip.targets and clip.speaker else None
            for clip in clips
        )
        voices = voices.combine_first(_leaks_into(ids, splits, keys))
    return {
        "phrase_leaks_into": _leaks_into(ids, splits, phrases),
        "recording_leaks_into": _leaks_into(ids, splits, recordings),
        "speaker_leaks_into": voices,
    }


def _phrase_key(clip: Clip | PackedClip) -> str | None:
    """Phrases of one kind are compared: the word "dog" and the sound "dog" are two things.

    Digits, questions and commands repeat their few sentences in every split on purpose: what is
    held out there is the voice.
    """
    tests_phrase = clip.kind in ("sound", "note") or (
        clip.kind == "speech" and not _PHRASE_TASKS.isdisjoint(clip.targets)
    )
    return f"{clip.kind} {clip.phrase!r}" if clip.phrase and tests_phrase else None


def _origin_leaks(clips: Sequence[PackedClip]) -> pd.Series:
    """Compositions: no recording may be heard in two splits, alone or as a part."""
    parts = pd.DataFrame(
        {
            "id": _text(clip.id for clip in clips),
            "split": _text(clip.split for clip in clips),
            "origin": [clip.origin for clip in clips],
        }
    ).explode("origin")
    rows, parts = parts.index, parts.reset_index(drop=True)
    keys = "origin '" + parts["origin"].astype("str") + "'"
    leaks = _leaks_into(parts["id"], parts["split"], keys)
    return leaks.groupby(rows).first()


def _leaks_into(ids: pd.Series, splits: pd.Series, keys: pd.Series) -> pd.Series:
    """For each row whose key is in an earlier split too: a row there; null for all other rows.

    A key's home is the first of train, dev, test that has it. Rows elsewhere are the strays, so
    their number is what must move, and not the size of the group.
    """
    ranks = splits.map(_SPLIT_ORDER)
    homes = ranks.groupby(keys).transform("min")
    at_home = ranks == homes
    hosts = ("split " + splits + " also has '" + ids + "' with " + keys)[at_home]
    host_of_key = hosts.groupby(keys[at_home]).first()
    return keys.map(host_of_key).where(ranks > homes).astype("str")
