"""Every rule of dialogues, pairs and predictions, broken once by a row that breaks nothing else."""

import math
from typing import Any

import pytest

from data_contracts.answer_records import EvaluationItem, Prediction, PreferencePair
from data_contracts.conversation_contracts import CONTRACTS, DIALOGUES, PAIRS, PREDICTIONS
from data_contracts.conversation_tables import dialogues_frame, pairs_frame, predictions_frame
from data_contracts.records import Conversation, Mode, Role, Turn
from tests.support.broken_rules import broken


def dialogue(name: str, *roles: Role, mode: Mode | None = "voice_chat") -> Conversation:
    turns = tuple(
        Turn(role=role, text="Words.", audio=("c1",) if role == "user" else ()) for role in roles
    )
    return Conversation(id=name, format="chat", turns=turns, task="voice_chat", mode=mode)


def pair(name: str, **fields: Any) -> PreferencePair:
    row = {
        "id": name,
        "prompt": dialogue(name, "user"),
        "chosen": "Yes.",
        "rejected": "No.",
        "chosen_score": 1.0,
        "rejected_score": 0.0,
        "ranker": "rule",
    }
    return PreferencePair.model_validate(row | fields)


def prediction(name: str, checkpoint: str, score: float = 1.0, suite: str = "lid") -> Prediction:
    return Prediction(
        id=name, suite=suite, checkpoint=checkpoint, reference="r", hypothesis="h", score=score
    )


def item(name: str, suite: str = "lid") -> EvaluationItem:
    return EvaluationItem(
        conversation=dialogue(name, "user", "assistant"), suite=suite, metric="accuracy"
    )


# --- dialogues


def test_sound_dialogues_meet_their_contract() -> None:
    dialogues = [
        dialogue("plain", "user", "assistant"),
        dialogue("long", "system", "user", "assistant", "user", "assistant", mode="audio_analysis"),
    ]

    assert broken(DIALOGUES, dialogues_frame(dialogues, ["c1"])) == {}


def test_each_broken_rule_of_dialogues_is_named_with_its_rows() -> None:
    mute = dialogue("mute", "user", "assistant").model_copy(
        update={"turns": (Turn(role="user", audio=("c1",)), Turn(role="assistant", text=" "))}
    )
    deaf = dialogue("deaf", "user", "assistant").model_copy(
        update={"turns": (Turn(role="user", text="Hi"), Turn(role="assistant", text="Hi"))}
    )
    lost = dialogue("lost", "user", "assistant").model_copy(
        update={
            "turns": (
                Turn(role="user", audio=("c1", "gone", "c9")),
                Turn(role="assistant", text="Hi"),
            )
        }
    )
    dialogues = [
        dialogue("twice", "user", "assistant"),
        dialogue("twice", "user", "assistant"),
        mute,
        deaf,
        lost,
        dialogue("no-mode", "user", "assistant", mode=None),
    ]

    assert broken(DIALOGUES, dialogues_frame(dialogues, {"c1"})) == {
        "id_is_unique": [("twice", "twice"), ("twice", "twice")],
        "answers_have_text": [("mute", "turn 2")],
        "has_audio": [("deaf", 0)],
        "audio_is_known": [("lost", "gone, c9")],
        "mode_is_given": [("no-mode", None)],
        "both_modes_occur": [],
    }


@pytest.mark.parametrize(
    "roles",
    [
        ("user",),
        ("assistant",),
        ("user", "user", "assistant"),
        ("user", "assistant", "user"),
        ("user", "assistant", "assistant"),
        ("user", "system", "assistant"),
        ("system", "system", "user", "assistant"),
    ],
)
def test_roles_that_do_not_alternate_are_shown(roles: tuple[Role, ...]) -> None:
    frame = dialogues_frame([dialogue("odd", *roles)], {"c1"})

    assert broken(DIALOGUES, frame)["roles_alternate"] == [("odd", " ".join(roles))]


# --- pairs


def test_sound_pairs_meet_their_contract() -> None:
    pairs = [pair("a"), pair("b", chosen_score=-1.0, rejected_score=-2.0)]

    assert broken(PAIRS, pairs_frame(pairs)) == {}


def test_each_broken_rule_of_pairs_is_named_with_its_rows() -> None:
    pairs = [
        pair("twice"),
        pair("twice"),
        pair("same", chosen="Yes.", rejected="Yes. "),
        pair("tie", chosen_score=0.0),
        pair("swapped", chosen_score=-0.5),
        pair("undefined", chosen_score=math.nan),
        pair("answered", prompt=dialogue("p", "user", "assistant")),
        pair("silent", prompt=dialogue("p")),
    ]

    assert broken(PAIRS, pairs_frame(pairs)) == {
        "id_is_unique": [("twice", "twice"), ("twice", "twice")],
        "chosen_differs_from_rejected": [("same", "Yes.")],
        "margin_is_positive": [("tie", 0.0), ("swapped", -0.5)],
        "margin_is_given": [("undefined", None)],
        "prompt_ends_with_user": [("answered", "assistant")],
        "last_role_is_given": [("silent", None)],
    }


# --- predictions


def test_one_prediction_for_each_item_and_checkpoint_meets_the_contract() -> None:
    items = [item("a"), item("b"), item("a", suite="other")]
    predictions = [prediction(i, c) for i in "ab" for c in ("sft", "dpo")]
    predictions += [prediction("a", c, suite="other", score=-3.5) for c in ("sft", "dpo")]

    assert broken(PREDICTIONS, predictions_frame(predictions, items)) == {}


def test_each_broken_rule_of_predictions_is_named_with_its_rows() -> None:
    items = [item("a"), item("b")]
    predictions = [
        prediction("a", "sft"),
        prediction("b", "sft"),
        prediction("b", "sft"),
        prediction("a", "dpo", score=math.inf),
        prediction("stranger", "sft", score=math.nan),
    ]

    assert broken(PREDICTIONS, predictions_frame(predictions, items)) == {
        "one_for_each_item_and_checkpoint": [
            ("sft/lid/b", 2),
            ("sft/lid/b", 2),
            ("dpo/lid/b", 0),
        ],
        "item_is_known": [("sft/lid/stranger", "lid/stranger")],
        "score_is_finite": [("dpo/lid/a", "inf"), ("sft/lid/stranger", "nan")],
    }


def test_no_predictions_at_all_are_refused() -> None:
    assert broken(PREDICTIONS, predictions_frame([], [item("a")])) == {"has_rows": []}


# --- all of them


def test_every_contract_has_a_remedy_for_every_rule() -> None:
    assert [rule.name for c in CONTRACTS for rule in c.all_rules if not rule.remedy.strip()] == []
