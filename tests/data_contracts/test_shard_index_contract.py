"""Every rule of the shard index's contract, broken once by a row that breaks nothing else."""

import math
from typing import Any

import pytest

from data_contracts.clip_contracts import SHARD_INDEX
from data_contracts.clip_tables import shard_index_frames
from data_contracts.contract_result import RuleOutcome
from data_contracts.records import PackedClip, Turn
from tests.support.broken_rules import broken, column, outcome

in_slices = pytest.mark.usefixtures("slice_rows")


WHOLE = frozenset({"asr", "s2tt", "digits", "voice_chat", "choice"})
"""Tasks whose answers account for all that is heard."""


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
