"""Cuts of a Shar that are longer than the encoder hears, or shorter than what is said of them."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.records import Clip, Rejected
from tasks.recordings.decode import decode
from tasks.recordings.read import read_audio
from tasks.sources.catalogue import CorpusSource, corpus_rows
from tests.support.corpus_trees.files import add
from tests.support.recordings import noise, sound_file

TALK = noise(70, 1)


def rows_of(root: Path, *cuts: dict[str, Any]) -> list[Clip | Rejected]:
    """Of a Shar whose cuts are all of the talk."""
    (root / "train").mkdir(parents=True)
    with tarfile.open(root / "train/recording.000000.tar", "w") as tar:
        for cut in cuts:
            add(tar, f"{cut['id']}.flac", sound_file(TALK, container="FLAC"))
            add(tar, f"{cut['id']}.json", b"{}")
    lines = "".join(json.dumps(cut) + "\n" for cut in cuts)
    (root / "train/cuts.000000.jsonl").write_text(lines)
    return list(corpus_rows(CorpusSource(name="shar", root=str(root), splits=("en/train",))))


def said(start: float, duration: float, text: str) -> dict[str, Any]:
    return {"start": start, "duration": duration, "text": text, "speaker": "ann"}


def test_a_cut_longer_than_the_encoder_hears_becomes_clips_between_its_supervisions(
    tmp_path: Path,
) -> None:
    spoken = [said(41, 20, "three"), said(0.5, 12, "one"), said(13, 14, "two"), said(62, 8, "four")]
    rows = rows_of(tmp_path / "talks", {"id": "a", "duration": 70, "supervisions": spoken})
    clips = [row for row in rows if isinstance(row, Clip)]
    assert [(clip.id, clip.targets["asr"], clip.speaker) for clip in clips] == [
        ("talks/train/a/0.500-27.000", "one two", "talks/ann"),
        ("talks/train/a/41.000-70.000", "three four", "talks/ann"),
    ]
    for clip in clips:
        data = read_audio(clip.audio, clip.begin_byte, clip.num_bytes)
        span = (clip.begin_seconds, clip.end_seconds)
        begin, end = (round(16_000 * (time or 0)) for time in span)
        heard = decode(data, "a.flac", 30, *span).waveform
        assert np.abs(heard - TALK[begin:end]).max() < 1 / 32_768


@pytest.mark.parametrize("spoken", [said(-2, 10, "a b"), said(60, 12, "a b")])
def test_a_cut_within_a_sentence_is_rejected_with_its_times(
    spoken: dict[str, Any], tmp_path: Path
) -> None:
    whole = {"id": "whole", "duration": 70, "supervisions": [said(1, 2, "a")]}
    _, row = rows_of(
        tmp_path / "shar", whole, {"id": "b", "duration": 70, "supervisions": [spoken]}
    )
    assert isinstance(row, Rejected)
    begin, end = spoken["start"], spoken["start"] + spoken["duration"]
    assert f"supervision from {begin} to {end} s reaches out of its 70 s" in row.detail


def test_a_cut_in_which_nobody_speaks_is_rejected_whatever_its_length(tmp_path: Path) -> None:
    whole = {"id": "whole", "duration": 70, "supervisions": [said(1, 2, "a")]}
    silent: list[dict[str, Any]] = [
        {"id": f"c{seconds}", "duration": seconds, "supervisions": []} for seconds in (9, 70)
    ]
    _, *rows = rows_of(tmp_path / "shar", whole, *silent, whole | {"supervisions": []})
    assert len(rows) == 3
    assert all(isinstance(row, Rejected) and "has a text" in row.detail for row in rows)
