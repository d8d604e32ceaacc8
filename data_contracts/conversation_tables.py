"""Tables of conversations, pairs, training and predictions for `conversation_contracts.py`.

What a rule needs and a record does not hold is derived here. A text column that is named after a
problem (`unknown_audio`, `empty_answers`) is null where all is well and names the problem
otherwise, so that a plain "must be null" tests it and its values are the examples. The tables of
clips, which have millions of rows, are in `clip_tables.py`.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from data_contracts.answer_records import EvaluationItem, Prediction, PreferencePair
from data_contracts.conversation_contracts import TRAINING_METRICS
from data_contracts.records import Conversation


def dialogues_frame(
    conversations: Sequence[Conversation],
    clip_ids: Collection[str],
    held_out: Collection[str] = (),
) -> pd.DataFrame:
    """Make a row for each conversation, for the contract DIALOGUES.

    Args:
        clip_ids: ids of the known clips.
        held_out: prompts that only evaluation may use.
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
    """Make a row for each preference pair, for the contract PAIRS."""
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
    """Make a row for each logged `{"step", "metrics"}` of a training, for the contract TRAINING."""
    return pd.DataFrame(
        {"step": np.array([entry["step"] for entry in history], int)}
        | {
            name: np.array([entry["metrics"][name] for entry in history], float)
            for name in TRAINING_METRICS
        }
    )


def predictions_frame(
    predictions: Sequence[Prediction], items: Iterable[EvaluationItem]
) -> pd.DataFrame:
    """Make a row for each prediction and each missing one, for the contract PREDICTIONS.

    Every checkpoint that occurs must answer every item of `items` once. An item is identified by
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
    """Make a text column that stays one where every value is null."""
    return pd.Series(list(values), dtype="str")


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
    """Return the prompt for evaluation alone that a dialogue of another split has."""
    asked = " ".join(turn.text.lower() for turn in dialogue.turns if turn.role == "user")
    shown = [text for text in held_out if text.lower() in asked]
    return shown[0] if shown and dialogue.split != "test" else None
