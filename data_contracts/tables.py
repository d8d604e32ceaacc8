"""Records as tables: the columns that the contracts in `suites.py` test.

What a rule needs and a record does not hold is derived here, in whole columns. A text column that
is named after a problem (`phrase_leaks_into`, `empty_targets`) is null where all is well and tells
the problem otherwise, so that a plain "must be null" tests it and its values are the examples.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.leaks import (
    SPLIT_ORDER,
    SPLITS,
    leaks_into,
    strays,
    text_series,
    told,
)
from data_contracts.records import (
    MIN_SECONDS,
    SAMPLES_PER_SECOND,
    Clip,
    Conversation,
    EvaluationItem,
    PackedClip,
    Prediction,
    PreferencePair,
    R,
    Task,
    answers_about_the_whole,
)

_SILENT_SECONDS = 0.15
"""Silence around the speech of a trimmed recording, which no character accounts for."""
_DENSE_SCRIPTS = frozenset({"zh", "ja", "ko"})
"""Languages whose characters are words or syllables: no common characters per second."""
_PHRASE_TASKS: frozenset[Task] = frozenset({"asr", "s2tt"})
_SPEAKER_TASKS: tuple[Task, ...] = ("lid", "digits", "voice_chat")
_ROWS_AT_ONCE = 1024
"""Rows that stay in the processor's cache while column after column is taken from them."""
_TEXT = pa.large_string()


def manifest_frame(clips: Iterable[Clip]) -> pd.DataFrame:
    """A row for each clip of a manifest, for the contract MANIFEST. The clips are not held."""
    columns = _collect(
        clips,
        {
            "id": (_TEXT, lambda rows: [clip.id for clip in rows]),
            "rank": (pa.int8(), lambda rows: [SPLIT_ORDER[clip.split] for clip in rows]),
            "language": (_TEXT, lambda rows: [clip.language for clip in rows]),
            "unlabelled": (
                _TEXT,
                lambda rows: [
                    _text_without_language(c) if c.language is None else None for c in rows
                ],
            ),
            "empty": (
                _TEXT,
                lambda rows: [
                    None if all(map(str.strip, c.targets.values())) else _empty_targets(c)
                    for c in rows
                ],
            ),
            **_LABEL_KEYS,
        },
    )
    frame = pd.DataFrame(
        {
            "id": text_series(columns["id"]),
            "split": _split_column(columns["rank"]),
            "language": text_series(columns["language"]),
            "text_without_language": text_series(columns["unlabelled"]),
            "empty_targets": text_series(columns["empty"]),
        }
    )
    return frame.assign(**_split_leaks(frame["id"], columns))


def shard_index_frame(clips: Iterable[PackedClip], max_seconds: float) -> pd.DataFrame:
    """A row for each packed clip, for the contract SHARD_INDEX; `max_seconds` is the limit.

    The clips are not held.
    """
    columns = _collect(
        clips,
        {
            "id": (_TEXT, lambda rows: [clip.id for clip in rows]),
            "rank": (pa.int8(), lambda rows: [SPLIT_ORDER[clip.split] for clip in rows]),
            "offset": (pa.int64(), lambda rows: [clip.offset for clip in rows]),
            "size": (pa.int64(), lambda rows: [clip.size for clip in rows]),
            "num_samples": (pa.int64(), lambda rows: [clip.num_samples for clip in rows]),
            "peak": (pa.float64(), lambda rows: [clip.peak for clip in rows]),
            "rms": (pa.float64(), lambda rows: [clip.rms for clip in rows]),
            "characters": (pa.float64(), lambda rows: [_characters(clip) for clip in rows]),
            "cut_answers": (
                _TEXT,
                lambda rows: [_cut_answers(c) if c.cut_seconds else None for c in rows],
            ),
            "labels": (
                pa.int64(),
                lambda rows: [hash(frozenset(clip.targets.items())) for clip in rows],
            ),
            "parts": (
                pa.list_(_TEXT),
                lambda rows: [None if c.origin == (c.id,) else c.origin for c in rows],
            ),
            **_LABEL_KEYS,
        },
    )
    ids = text_series(columns["id"])
    numbers = {
        name: columns[name].to_numpy() for name in ("num_samples", "offset", "size", "peak", "rms")
    }
    seconds = numbers.pop("num_samples") / SAMPLES_PER_SECOND
    rate = _speaking_rate(columns["characters"].to_numpy(), seconds)
    too_long = {
        int(row): f"{seconds[row]:.4f} s, at most {max_seconds:g} s"
        for row in np.flatnonzero(seconds > max_seconds)
    }
    frame = pd.DataFrame(
        {
            "id": ids,
            "split": _split_column(columns["rank"]),
            "seconds": seconds,
            **numbers,
            "too_long": told(len(ids), too_long),
            "cut_answers": text_series(columns["cut_answers"]),
            "characters_per_second": rate,
            "duplicate_of": _duplicates(ids, columns),
            "origin_leaks_into": _origin_leaks(ids, columns["rank"], columns["parts"]),
        }
    )
    return frame.assign(**_split_leaks(ids, columns))


def _collect(
    records: Iterable[R], makers: Mapping[str, tuple[pa.DataType, Callable[[list[R]], list[Any]]]]
) -> dict[str, pa.ChunkedArray]:
    """One Arrow column for each maker, filled some thousand rows at a time."""
    pieces: dict[str, list[pa.Array]] = {name: [] for name in makers}
    remaining = iter(records)
    while rows := list(islice(remaining, _ROWS_AT_ONCE)):
        for name, (kind, make) in makers.items():
            pieces[name].append(pa.array(make(rows), kind))
    return {name: pa.chunked_array(pieces[name], kind) for name, (kind, _) in makers.items()}


def _split_column(ranks: pa.ChunkedArray) -> pd.Series:
    return text_series(pa.array(SPLITS, _TEXT).take(ranks.combine_chunks()))


def characters_per_second(clips: Sequence[PackedClip]) -> NDArray[np.float64]:
    """Speaking rate of each clip by its transcript, NaN without one or in a dense script."""
    seconds = np.array([clip.num_samples for clip in clips], float) / SAMPLES_PER_SECOND
    return _speaking_rate(np.array([_characters(clip) for clip in clips], float), seconds)


def _speaking_rate(
    characters: NDArray[np.float64], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    # A recording shorter than its silence gets a tiny positive length: implausible, not negative.
    return characters / np.maximum(seconds - _SILENT_SECONDS, 1e-3)


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


def _empty_targets(clip: Clip) -> str:
    return ", ".join(task for task, text in clip.targets.items() if not text.strip())


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


def _split_leaks(ids: pd.Series, columns: Mapping[str, pa.ChunkedArray]) -> dict[str, pd.Series]:
    """What may not be in two splits: a phrase, a recording, and a voice where voices are learnt."""
    ranks = columns["rank"].to_numpy()

    def leaks(name: str, what: str = "") -> dict[int, str]:
        return leaks_into(ids, ranks, text_series(columns[name]), what)

    voices: dict[int, str] = {}
    for task in _SPEAKER_TASKS:
        voices = leaks(task, f"{task} speaker ") | voices
    hashes = columns["recording"].to_numpy()
    recordings = pd.Series(pd.arrays.IntegerArray(hashes, hashes == 0))
    same = {
        row: f"split {SPLITS[ranks[host]]} also has '{ids.iloc[host]}' of the same recording"
        for row, host in strays(ranks, recordings)
    }
    return {
        "phrase_leaks_into": told(len(ids), leaks("phrase")),
        "recording_leaks_into": told(len(ids), same),
        "speaker_leaks_into": told(len(ids), voices),
    }


def _duplicates(ids: pd.Series, columns: Mapping[str, pa.ChunkedArray]) -> pd.Series:
    """Rows with the bytes and the answers of an earlier one, which they name."""
    recordings, labels = columns["recording"].to_numpy(), columns["labels"].to_numpy()
    repeated = np.flatnonzero(pd.Series(recordings).duplicated(keep=False))
    first: dict[tuple[int, int], int] = {}
    words = {}
    for row in repeated.tolist():
        earlier = first.setdefault((int(recordings[row]), int(labels[row])), row)
        if earlier != row:
            words[row] = str(ids.iloc[earlier])
    return told(len(ids), words)


def _origin_leaks(ids: pd.Series, ranks: pa.ChunkedArray, parts: pa.ChunkedArray) -> pd.Series:
    """Compositions: no recording may be heard in two splits, alone or as a part."""
    lists = parts.combine_chunks()
    composed, names = lists.value_parent_indices().to_numpy(), text_series(lists.flatten())
    alone = np.flatnonzero(ids.isin(names.unique()))
    rows = np.concatenate([alone, composed])
    keys = pd.concat([ids.iloc[alone], names], ignore_index=True)
    order = rows.argsort(kind="stable")
    rows, keys = rows[order], keys.iloc[order].reset_index(drop=True)
    part_ranks = ranks.to_numpy()[rows]
    words: dict[int, str] = {}
    for part, host in strays(part_ranks, keys):
        words.setdefault(
            int(rows[part]),
            f"split {SPLITS[part_ranks[host]]} also has '{ids.iloc[rows[host]]}' "
            f"with origin '{keys.iloc[part]}'",
        )
    return told(len(ids), words)


def _characters(clip: PackedClip) -> float | None:
    transcript = clip.targets.get("asr")
    return None if transcript is None or clip.language in _DENSE_SCRIPTS else len(transcript)


def _phrase_key(clip: Clip | PackedClip) -> str | None:
    """Phrases of one kind are compared: the word "dog" and the sound "dog" are two things.

    Digits, questions and commands repeat their few sentences in every split on purpose: what is
    held out there is the voice.
    """
    tests_phrase = clip.kind in ("sound", "note") or (
        clip.kind == "speech" and not _PHRASE_TASKS.isdisjoint(clip.targets)
    )
    return f"{clip.kind} {clip.phrase!r}" if clip.phrase and tests_phrase else None


def _speakers(task: Task) -> tuple[pa.DataType, Callable[[list[Any]], list[Any]]]:
    return _TEXT, lambda rows: [
        repr(clip.speaker) if clip.speaker and task in clip.targets else None for clip in rows
    ]


_LABEL_KEYS: Mapping[str, tuple[pa.DataType, Callable[[list[Any]], list[Any]]]] = {
    "phrase": (_TEXT, lambda rows: [_phrase_key(c) if c.phrase else None for c in rows]),
    "recording": (pa.int64(), lambda rows: [hash(c.sha256) if c.sha256 else 0 for c in rows]),
    **{task: _speakers(task) for task in _SPEAKER_TASKS},
}
"""What must stay in one split, of rows of manifests and indices alike.

Recordings (0: unknown) and labels are compared by hashes of 64 bits, which never leave this
process: a million rows have two alike by chance once in thirty million times.
"""
