"""Sentences that two splits share are found; what only looks alike passes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from data_contracts.hygiene import Finding
from data_contracts.normalised_text import normalise
from data_contracts.records import Clip, PackedClip, TaskName
from tasks.hygiene import text_matches
from tasks.hygiene.text import Texts, jaccard, shingles
from tests.support.audio_copies import manifest_rows
from tests.support.recordings import packed

ROWS = manifest_rows()


def said(name: str, split: str, **fields: Any) -> Any:
    defaults = {"targets": {"asr": "Good morning to you all"}, "language": "en", "split": split}
    return packed(Clip(id=name, audio="a.wav", **(defaults | fields)))


HELD_OUT: tuple[TaskName, ...] = ("asr", "s2tt", "voice_chat")


def shared(
    rows: Sequence[PackedClip], folder: Path, held_out: tuple[TaskName, ...] = HELD_OUT
) -> list[Finding]:
    folder.mkdir()
    return list(text_matches.shared_texts(Texts.of(rows, held_out), rows, folder, 0.75))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, ["text_leak"]),
        ({"targets": {"asr": "GOOD MORNING, to you all!"}}, ["text_leak"]),
        ({"targets": {"asr": "Good morning to you al"}}, ["similar_text"]),
        ({"language": "nl"}, []),
        ({"kind": "question"}, []),
        ({"kind": "digit", "targets": {"digits": "3", "asr": "Good morning to you all"}}, []),
        ({"split": "test"}, []),
        ({"targets": {"s2tt": "Good morning to you all"}}, []),
    ],
)
def test_a_held_out_sentence_of_recorded_speech_belongs_to_one_split(
    fields: dict[str, Any], found: list[str], tmp_path: Path
) -> None:
    rows = [said("far", "test"), said("near", **({"split": "train"} | fields))]
    assert [finding.kind for finding in shared(rows, tmp_path / "held")] == found
    assert shared(rows, tmp_path / "free", held_out=()) == []


@pytest.mark.parametrize(("into", "found"), [("en", ["text_leak"]), ("sv", []), ("de", [])])
def test_a_translation_is_compared_with_those_into_its_language(
    into: str, found: list[str], tmp_path: Path
) -> None:
    """ "Ja." is right in German and in Swedish: two sentences, whatever was said."""
    one = said("a", "train", targets={"s2tt": "Ja."}, language="fr")
    other = said("b", "test", targets={"s2tt": "ja"}, language="de", target_language=into)
    assert [finding.kind for finding in shared([one, other], tmp_path / "texts")] == found


def test_a_spoken_question_is_compared_by_its_words_and_not_by_its_answer(tmp_path: Path) -> None:
    chat: dict[str, Any] = {"targets": {"voice_chat": "Yes."}}
    one = said("a", "train", phrase="is water wet", **chat)
    same = said("b", "test", phrase="Is water wet?", **chat)
    other = said("c", "test", phrase="is fire hot", **chat)
    assert [f.kind for f in shared([one, same], tmp_path / "same")] == ["text_leak"]
    assert shared([one, other], tmp_path / "other") == []


def test_similar_texts_are_those_that_comparing_all_pairs_finds(tmp_path: Path) -> None:
    """Every other text is held out, so that only pairs of an even and an odd one count."""
    spoken = [r["targets"]["asr"] for r in ROWS if "asr" in r["targets"]]
    texts = sorted({normalise(text) for text in spoken})[:800]
    rows = [
        said(text, "test" if number % 2 else "train", targets={"asr": text})
        for number, text in enumerate(texts)
    ]
    pieces = [shingles(text) for text in texts]
    expected = {
        (texts[train], texts[test])
        for train in range(0, len(texts), 2)
        for test in range(1, len(texts), 2)
        if min(len(pieces[train]), len(pieces[test])) >= 8
        and jaccard(pieces[train], pieces[test]) >= 0.75
    }
    assert expected
    found = shared(rows, tmp_path / "texts")
    assert {finding.kind for finding in found} == {"similar_text"}
    assert sorted((f.clip, f.other) for f in found) == sorted(expected)
