"""Long recordings with timed transcripts: every word in one clip, together with its sound."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.contract_result import enforce
from infra.storage.store import Store
from tasks import ingest
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.ingest import IngestRecipe
from tasks.recordings.segments import Segment, clips_of_line, joined
from tests.support.recordings import noise, row, sound_file, stage_context, write_manifest


def said(begin: float, end: float, text: str) -> dict[str, Any]:
    return {"begin_seconds": begin, "end_seconds": end, "text": text}


def segment(begin: float, end: float, text: str) -> Segment:
    return Segment.model_validate(said(begin, end, text))


def line(**fields: Any) -> str:
    return json.dumps({"id": "talk", "audio": "talk.wav", "task": "asr", "language": "en"} | fields)


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 160), st.sampled_from(["a", "b c", " "])),
        min_size=1,
        max_size=30,
    )
)
def test_every_word_is_in_one_part_and_no_part_is_longer_than_it_must_be(
    quarters: list[tuple[int, int, str]],
) -> None:
    segments, now = [], 0.0
    for pause, length, text in quarters:
        begin, now = now + pause / 4, now + (pause + length) / 4
        segments.append(segment(begin, now, text))
    parts = list(joined(segments))
    words = [word for s in segments for word in s.text.split()]
    assert [word for part in parts for word in part.text.split()] == words
    spoken = [s for s in segments if s.text.strip()]
    for part in parts:
        inside = [s for s in spoken if part.begin_seconds <= s.begin_seconds < part.end_seconds]
        assert " ".join(s.text for s in inside) == part.text
        assert part.begin_seconds == inside[0].begin_seconds
        assert part.end_seconds == inside[-1].end_seconds
        assert part.end_seconds - part.begin_seconds <= 30 or len(inside) == 1
    for part, after in pairwise(parts):
        first = next(s for s in spoken if s.begin_seconds == after.begin_seconds)
        assert first.end_seconds - part.begin_seconds > 30  # it found no room


def test_who_speaks_at_the_same_time_is_heard_in_one_clip() -> None:
    parts = list(joined([segment(0, 20, "one"), segment(25, 40, "three"), segment(19, 31, "two")]))
    assert parts == [segment(0, 40, "one two three")]
    parts = list(joined([segment(0, 20, "one"), segment(20, 29, "two"), segment(28, 33, "three")]))
    assert parts == [segment(0, 20, "one"), segment(20, 33, "two three")]


def test_times_that_are_rounded_apart_are_no_speech_at_the_same_time() -> None:
    parts = list(joined([segment(0, 20.001, "one"), segment(20, 40, "two")]))
    assert [part.text for part in parts] == ["one", "two"]


def test_a_talk_becomes_clips_whose_sound_and_text_belong_together(tmp_path: Path) -> None:
    waveform = noise(75, 1)
    (tmp_path / "talk.flac").write_bytes(sound_file(waveform, container="FLAC"))
    segments = [said(0.5, 12, "one"), said(12, 29, "two"), said(31, 60.25, "three"),
                said(60.5, 74, "four"), said(80, 95, "five")]  # fmt: skip
    talk = row("talk", audio="talk.flac", task="asr", segments=segments, speaker="ann")
    del talk["targets"]
    source = write_manifest(tmp_path, [talk])
    result = ingest.run(stage_context(tmp_path / "out"), IngestRecipe(max_rejected_share=1), source)
    out = Store(str(tmp_path / "out"))
    for contract in ingest.check(out):
        enforce(contract)
    assert (result.records_in, result.records_out, result.rejected) == (4, 3, 1)
    packed = {clip.id: clip for clip in read_index(out)}
    assert {name: clip.targets["asr"] for name, clip in packed.items()} == {
        "talk/0.500-29.000": "one two",
        "talk/31.000-60.250": "three",
        "talk/60.500-74.000": "four",
    }
    reader = ClipReader(out, list(packed.values()))
    for name, clip in packed.items():
        begin, end = (round(float(time) * 16_000) for time in name[5:].split("-"))
        assert np.abs(reader[name] - waveform[begin:end]).max() < 1 / 32_768
        (file,) = clip.sources
        assert (file.begin_seconds * 16_000, (file.end_seconds or 0) * 16_000) == (begin, end)
        assert clip.speaker == "ann"
    (rejected,) = (json.loads(text) for text in out.open("rejected.jsonl"))
    assert rejected["id"] == "talk/80.000-95.000"
    assert rejected["reason"] == "empty"


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"segments": []}, "at least 1 item"),
        ({"segments": [said(3, 3, "a")]}, "begin_seconds 3.0 is not before end_seconds 3.0"),
        ({"segments": [said(-1, 3, "a")]}, "greater than or equal to 0"),
        ({"segments": [said(0, 3, " ")]}, "no segment has a text"),
        ({"segments": [said(0, 3, "a")], "text": "a"}, "a row with segments has no text"),
        ({"segments": [said(0, 3, "a")], "end_seconds": 3}, "has no end_seconds"),
        ({"segments": [said(0, 3, "a")], "task": "Sing!"}, "String should match pattern"),
        ({"segments": [said(0, 3, "a")], "spekaer": "ann"}, "Extra inputs are not permitted"),
        ({"segments": [said(0, 3, "a" * 10_001)]}, "at most 10000 characters"),
    ],
)
def test_a_row_whose_segments_are_wrong_is_refused_with_the_rule(
    fields: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValidationError, match=rule):
        clips_of_line(line(**fields))


def test_the_word_segments_in_a_text_is_no_list_of_them() -> None:
    (clip,) = clips_of_line(line(text='the "segments" of a worm'))
    assert clip.targets == {"asr": 'the "segments" of a worm'}
    (clip,) = clips_of_line(line(text="segments", speaker="segments"))
    assert clip.targets == {"asr": "segments"}
    with pytest.raises(ValidationError, match="Invalid JSON"):
        clips_of_line('{"segments": [')
