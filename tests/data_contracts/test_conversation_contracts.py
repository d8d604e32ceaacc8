"""Every rule of the five contracts, broken once by a row that breaks nothing else."""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
import pytest

from data_contracts import clip_tables
from data_contracts.clip_contracts import MANIFEST, SHARD_INDEX
from data_contracts.clip_tables import manifest_frames, shard_index_frames
from data_contracts.contract import Contract
from data_contracts.contract_result import RuleOutcome
from data_contracts.conversation_contracts import CONTRACTS, DIALOGUES, PAIRS, PREDICTIONS
from data_contracts.conversation_tables import dialogues_frame, pairs_frame, predictions_frame
from data_contracts.languages import LANGUAGES
from data_contracts.records import (
    Clip,
    Conversation,
    EvaluationItem,
    Mode,
    PackedClip,
    Prediction,
    PreferencePair,
    Role,
    Turn,
)
from data_contracts.validation import validate_slices

Shown = dict[str, list[tuple[str, object]]]

WHOLE = frozenset({"asr", "s2tt", "digits", "voice_chat", "choice"})
"""Tasks whose answers account for all that is heard."""


def broken(contract: Contract, *slices: pd.DataFrame) -> Shown:
    """Rule (without the contract's name) to its examples, for every rule that is not met."""
    outcomes = validate_slices(contract, slices, contract.name).outcomes
    return {
        o.rule.removeprefix(contract.name + "."): [(e.id, e.value) for e in o.examples]
        for o in outcomes
        if not o.success
    }


def outcome(contract: Contract, rule: str, *slices: pd.DataFrame) -> RuleOutcome:
    outcomes = validate_slices(contract, slices, contract.name).outcomes
    return next(o for o in outcomes if o.rule == f"{contract.name}.{rule}")


def column(slices: Iterable[pd.DataFrame], name: str) -> pd.Series:
    return pd.concat([frame[name] for frame in slices], ignore_index=True)


@pytest.fixture(params=[1 << 17, 3])
def slice_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and in slices of three rows."""
    monkeypatch.setattr(clip_tables, "SLICE_ROWS", request.param)


in_slices = pytest.mark.usefixtures("slice_rows")


def clip(name: str, **fields: Any) -> Clip:
    return Clip(**{"id": name, "audio": f"{name}.ogg", "targets": {}, **fields})


def speech(name: str, split: str, phrase: str, **fields: Any) -> Clip:
    targets = {"asr": "un chien"}
    return clip(
        name, **{"targets": targets, "language": "fr", **fields}, split=split, phrase=phrase
    )


def packed(name: str, **fields: Any) -> PackedClip:
    row = {
        "id": name,
        "shard": "train-00000.tar",
        "offset": 512,
        "size": 20_000,
        "num_samples": 32_000,
        "sha256": f"digest of {name}",
        "rms": 0.1,
        "targets": {"asr": "fourteen chars"},
        "language": "en",
        "speaker": None,
        "split": "train",
        "phrase": None,
        "kind": "speech",
        "source": "user",
        "license": "CC0-1.0",
        "origin": (name,),
    }
    return PackedClip.model_validate(row | fields)


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


# --- manifest


@in_slices
def test_a_sound_manifest_meets_its_contract() -> None:
    clips = [
        speech("dog-fr", "train", "a dog", sha256="1", speaker="anna"),
        speech("dog-es", "train", "a dog", language="es", sha256="2", speaker="juan"),
        # Speakers of asr rows may occur in several splits, and so may phrases of other kinds.
        speech("cat-fr", "test", "a cat", sha256="3", speaker="anna"),
        clip("bark", kind="sound", targets={"sound": "animal"}, phrase="a dog", split="test"),
        clip("seven-1", kind="digit", targets={"digits": "7"}, phrase="7", speaker="v1"),
        clip(
            "seven-2", kind="digit", targets={"digits": "7"}, phrase="7", speaker="v2", split="dev"
        ),
        # A voice known from another task does not give this task's answer away.
        clip("lid", targets={"lid": "French"}, language="fr", speaker="v1", split="test"),
        clip("command", kind="command", language="en"),
        # Questions repeat in every split: what is held out is the voice.
        clip("q-1", kind="question", targets={"asr": "Who?"}, language="en", phrase="who"),
        clip("q-2", kind="question", targets={"voice_chat": "I."}, phrase="who", split="dev"),
    ]

    assert broken(MANIFEST, *manifest_frames(clips)) == {}


@in_slices
def test_each_broken_rule_of_a_manifest_is_named_with_its_rows() -> None:
    clips = [
        clip("twice"),
        clip("twice"),
        clip("klingon", language="tlh"),
        clip("no-language", targets={"asr": "un chien"}),
        clip("no-text", targets={"lid": "French", "s2tt": " ", "caption": ""}, language="fr"),
        clip("odd-split"),
    ]
    slices = list(manifest_frames(clips))
    slices[-1].loc[slices[-1].index[-1], "split"] = "validation"

    assert broken(MANIFEST, *slices) == {
        "id_is_unique": [("twice", "row 1 has it first"), ("twice", "row 1 has it first")],
        "language_is_iso_639_1": [("klingon", "tlh")],
        "text_has_language": [("no-language", "asr text without a language")],
        "targets_have_text": [("no-text", "s2tt, caption")],
        "split_is_known": [("odd-split", "validation")],
    }


@in_slices
def test_a_phrase_in_two_splits_is_shown_with_the_row_it_meets() -> None:
    clips = [
        speech("dog-fr", "train", "a dog"),
        speech("dog-ru", "dev", "a dog", targets={"s2tt": "A dog."}),
        clip("note-1", kind="note", targets={"instrument": "flute"}, phrase="flute 60"),
        clip("note-2", kind="note", targets={"family": "pipe"}, phrase="flute 60", split="test"),
        clip("moo-1", kind="sound", targets={"sound": "animal"}, phrase="cow", split="dev"),
        clip("moo-2", kind="sound", targets={"caption": "A cow."}, phrase="cow", split="test"),
    ]

    leaks = column(manifest_frames(clips), "phrase_leaks_into")

    assert leaks.dropna().to_dict() == {
        1: "split train also has 'dog-fr' with speech 'a dog'",
        3: "split train also has 'note-1' with note 'flute 60'",
        5: "split dev also has 'moo-1' with sound 'cow'",
    }
    shown = outcome(MANIFEST, "phrase_stays_in_one_split", *manifest_frames(clips))
    assert (shown.success, shown.severity, shown.unexpected_count) == (False, "stop", 3)
    assert shown.examples[0].id == "dog-ru"


@in_slices
@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"sha256": "ab12"}, "of the same recording"),
        ({"speaker": "anna", "targets": {"lid": "French"}}, "with lid speaker 'anna'"),
        ({"speaker": "anna", "targets": {"digits": "7"}}, "with digits speaker 'anna'"),
        ({"speaker": "anna", "targets": {"voice_chat": "Yes."}}, "with voice_chat speaker 'anna'"),
    ],
)
def test_a_recording_or_a_learnt_voice_in_two_splits_is_a_leak(
    fields: dict[str, Any], value: str
) -> None:
    clips = [clip("one", **fields), clip("two", **fields, split="test")]

    rule = "recording" if "sha256" in fields else "speaker"
    assert broken(MANIFEST, *manifest_frames(clips)) == {
        f"{rule}_stays_in_one_split": [("two", f"split train also has 'one' {value}")]
    }


@in_slices
def test_an_empty_manifest_is_refused() -> None:
    assert broken(MANIFEST, *manifest_frames([])) == {"has_rows": []}


# --- shard index


@in_slices
def test_a_sound_shard_index_meets_its_contract() -> None:
    clips = [
        packed("shortest", num_samples=321, targets={"sound": "bell"}, kind="sound"),
        packed(
            "longest",
            num_samples=480_000,
            targets={"caption": "Rain."},
            rms=1e-4,
            clipped_share=0.001,
        ),
        packed("cut", targets={"caption": "Rain.", "lid": "English"}, cut_seconds=40.0),
        packed("cut by less than a token", cut_seconds=0.02),
        packed("spoken"),
        packed("joined", origin=("spoken", "longest"), targets={"digits": "7 1"}, kind="digit"),
        packed("other", split="test"),
    ]

    assert broken(SHARD_INDEX, *shard_index_frames(clips, 30, WHOLE)) == {}


@in_slices
def test_each_broken_rule_of_a_shard_index_is_named_with_its_rows() -> None:
    clips = [
        packed("twice"),
        packed("twice", sha256="another"),
        packed("no-offset", offset=0),
        packed("no-size", size=0),
        packed("too-short", num_samples=320, targets={}),
        packed("too-long", num_samples=480_001, targets={}),
        packed("half-heard", cut_seconds=40.0, targets={"lid": "English", "asr": "fourteen chars"}),
        packed("half-heard-too", cut_seconds=0.0201, targets={}, conversation=(Turn(role="user"),)),
        packed("silent", rms=9e-5),
        packed("loud", clipped_share=0.002),
        packed("again", sha256="digest of loud"),
        packed("odd-split"),
    ]
    slices = list(shard_index_frames(clips, 30, WHOLE))
    slices[-1].loc[slices[-1].index[-1], "split"] = "validation"

    assert broken(SHARD_INDEX, *slices) == {
        "id_is_unique": [("twice", "row 1 has it first"), ("twice", "row 1 has it first")],
        "offset_is_positive": [("no-offset", 0)],
        "size_is_positive": [("no-size", 0)],
        "clip_has_an_audio_token": [("too-short", 320 / 16_000)],
        "duration_fits_the_policy": [("too-long", "30.0001 s, at most 30 s")],
        "cut_clip_keeps_no_answer_about_the_whole": [
            ("half-heard", "asr of 40.0 s more"),
            ("half-heard-too", "conversation of 0.0 s more"),
        ],
        "clip_is_not_silent": [("silent", 9e-5)],
        "clip_is_not_clipped": [("loud", 0.002)],
        "audio_occurs_once": [("again", "loud")],
        "split_is_known": [("odd-split", "validation")],
    }


@in_slices
def test_a_corpus_of_windows_may_hold_clips_up_to_its_own_limit() -> None:
    clips = [packed("a", num_samples=70 * 16_000, targets={}), packed("b", sha256="b")]

    assert broken(SHARD_INDEX, *shard_index_frames(clips, 70.0, WHOLE)) == {}
    assert broken(SHARD_INDEX, *shard_index_frames(clips, 69.5, WHOLE)) == {
        "duration_fits_the_policy": [("a", "70.0000 s, at most 69.5 s")]
    }


@in_slices
def test_equal_audio_with_another_answer_is_no_repetition() -> None:
    clips = [packed("a", sha256="1"), packed("b", sha256="1", targets={"lid": "English"})]

    assert column(shard_index_frames(clips, 30, WHOLE), "duplicate_of").isna().all()


@in_slices
def test_characters_per_second_count_the_speech_of_alphabetic_asr_rows_only() -> None:
    clips = [
        packed("14 characters in 2 s", num_samples=32_000),
        packed("shorter than its silence", num_samples=1_600),
        packed("chinese", targets={"asr": "你好"}, language="zh"),
        packed("cantonese", targets={"asr": "你好"}, language="yue"),
        packed("translated", targets={"s2tt": "A dog."}),
    ]

    rates = column(shard_index_frames(clips, 30, WHOLE), "characters_per_second").tolist()

    assert rates[0] == pytest.approx(14 / 1.85)
    assert rates[1] > 24
    assert all(math.isnan(rate) for rate in rates[2:])


@pytest.mark.parametrize("text", ["four!", "x" * 45])  # 5 and 45 characters in 1.85 s of speech
def test_implausible_texts_are_reported_from_above_two_per_cent_on(text: str) -> None:
    def share(stale: int) -> RuleOutcome:
        texts = [text] * stale + ["fourteen chars"] * (50 - stale)
        clips = [packed(f"c{i}", targets={"asr": text}) for i, text in enumerate(texts)]
        return outcome(SHARD_INDEX, "text_fits_duration", *shard_index_frames(clips, 30, WHOLE))

    one, two = share(1), share(2)

    assert (one.success, one.unexpected_count, one.examples[0].id) == (True, 1, "c0")
    assert (two.success, two.unexpected_count, two.severity) == (False, 2, "report")


@in_slices
def test_a_packed_table_is_checked_for_every_leak_and_for_parts_of_compositions() -> None:
    clips = [
        packed("one", speaker="anna", targets={"digits": "1"}),
        packed("two", split="test", speaker="anna", targets={"digits": "2"}),
        packed("dog", phrase="a dog"),
        packed("perro", phrase="a dog", split="dev"),
        packed("copy", sha256="digest of dog", split="test"),
        packed("train-mix", origin=("x", "shared"), targets={}),
        packed("test-mix", origin=("shared", "y"), split="test", targets={}),
        packed("alone", origin=("y",), split="dev", targets={}),
    ]

    assert broken(SHARD_INDEX, *shard_index_frames(clips, 30, WHOLE)) == {
        "phrase_stays_in_one_split": [
            ("perro", "split train also has 'dog' with speech 'a dog'"),
        ],
        "recording_stays_in_one_split": [
            ("copy", "split train also has 'dog' of the same recording"),
        ],
        "speaker_stays_in_one_split": [
            ("two", "split train also has 'one' with digits speaker 'anna'"),
        ],
        "origin_stays_in_one_split": [
            ("test-mix", "split train also has 'train-mix' with origin 'shared'"),
        ],
        # A copy of "dog" with the same answer is one recording too many as well.
        "audio_occurs_once": [("copy", "dog")],
    }


@in_slices
def test_an_empty_shard_index_is_refused() -> None:
    assert broken(SHARD_INDEX, *shard_index_frames([], 30, WHOLE)) == {"has_rows": []}


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


def test_languages_are_the_183_codes_of_iso_639_1_and_cantonese_with_names_of_their_own() -> None:
    assert len(LANGUAGES) == len(set(LANGUAGES.values())) == 184
    two_letters = LANGUAGES.keys() - {"yue"}
    assert all(len(code) == 2 and code.isascii() and code.islower() for code in two_letters)
    assert [LANGUAGES[code] for code in ("en", "zh", "es", "el", "uk")] == [
        "English",
        "Chinese",
        "Spanish",
        "Greek",
        "Ukrainian",
    ]
