"""Recordings beyond the limits of a recipe are rejected with their values, and no others."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.jsonl import from_jsonl
from data_contracts.records import Rejected
from tasks import ingest
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.ingest import IngestRecipe
from tasks.recordings.decode import DecodeError
from tasks.recordings.levels import LevelRecipe
from tests.support.recordings import noise, row, sound_file, stage_context, tone, write_manifest


def paused(seconds: float, share: float) -> np.ndarray:
    """A tone, and silence for a share of the whole."""
    waveform = tone(seconds).astype(np.float32)
    waveform[round((1 - share) * len(waveform)) :] = 0
    return waveform


@given(amplitude=st.floats(0.001, 0.9), least=st.floats(-60, -1))
def test_the_level_of_a_sine_is_that_of_its_amplitude(amplitude: float, least: float) -> None:
    waveform = tone(1, amplitude=amplitude).astype(np.float32)
    level = 20 * np.log10(amplitude / np.sqrt(2))
    if abs(level - least) < 0.01:
        return
    if level > least:
        LevelRecipe(min_dbfs=least).refuse(waveform, "clip")
        return
    with pytest.raises(DecodeError, match=f"clip has {level:.1f} dB.*ingest.levels.min_dbfs is"):
        LevelRecipe(min_dbfs=least).refuse(waveform, "clip")


@given(share=st.floats(0.02, 0.9), most=st.floats(0.01, 0.99))
def test_the_quiet_share_is_that_of_the_silence_in_a_recording(share: float, most: float) -> None:
    waveform = paused(2, share)
    if abs(share - most) < 0.01:
        return
    if share < most:
        LevelRecipe(max_quiet_share=most).refuse(waveform, "clip")
        return
    with pytest.raises(DecodeError, match=r"ingest\.levels\.max_quiet_share is") as caught:
        LevelRecipe(max_quiet_share=most).refuse(waveform, "clip")
    assert caught.value.reason == "mostly_quiet"


def test_nothing_is_refused_by_default_nor_by_less_than_a_frame() -> None:
    LevelRecipe().refuse(paused(1, 0.99), "clip")
    LevelRecipe(max_quiet_share=0).refuse(np.ones(100, np.float32), "clip")
    with pytest.raises(ValidationError):
        LevelRecipe(min_dbfs=3)


def test_ingest_rejects_by_level_and_packs_the_rest_as_opus(tmp_path: Path) -> None:
    sounds = {"good": noise(1, 1), "faint": 0.01 * noise(1, 2), "pause": paused(1, 0.6)}
    for name, waveform in sounds.items():
        (tmp_path / f"{name}.wav").write_bytes(sound_file(waveform))
    recipe = IngestRecipe(
        max_rejected_share=0.9,
        codec="opus",
        levels=LevelRecipe(min_dbfs=-40, max_quiet_share=0.5),
    )
    context = stage_context(tmp_path / "out")
    ingest.run(context, recipe, write_manifest(tmp_path, [row(name) for name in sounds]))
    text = context.directory.read_text("rejected.jsonl")
    reasons = {each.id: each.reason for each in from_jsonl(text, Rejected, "rejected")}
    assert reasons == {"faint": "too_quiet", "pause": "mostly_quiet"}
    (packed,) = read_index(context.directory)
    reader = ClipReader(context.directory, [packed])
    assert reader.audio("good")[:4] == b"OggS"
    assert len(reader["good"]) == packed.num_samples == 16_000
