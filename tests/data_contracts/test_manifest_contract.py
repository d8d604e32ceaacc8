"""Every rule of the manifest's contract, broken once by a row that breaks nothing else."""

from typing import Any

import pytest

from data_contracts.clip_contracts import MANIFEST
from data_contracts.clip_tables import manifest_frames
from data_contracts.records import Clip
from tests.support.broken_rules import broken, column, outcome

in_slices = pytest.mark.usefixtures("slice_rows")


def clip(name: str, **fields: Any) -> Clip:
    return Clip(**{"id": name, "audio": f"{name}.ogg", "targets": {}, **fields})


def speech(name: str, split: str, phrase: str, **fields: Any) -> Clip:
    targets = {"asr": "un chien"}
    return clip(
        name, **{"targets": targets, "language": "fr", **fields}, split=split, phrase=phrase
    )


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
