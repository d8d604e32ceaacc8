"""Noise, silence and clipping of a recording are measured."""

import numpy as np
import pytest

from tasks.hygiene.fingerprint import mel_powers
from tasks.hygiene.waveform import background
from tests.support.recordings import tone


def test_measures_are_those_that_were_planted() -> None:
    half = np.concatenate([tone(1), 0.05 * tone(1)]).astype(np.float32)
    clean = background(half, mel_powers([half])[0])
    assert clean.snr_db == pytest.approx(26, abs=1)
    assert clean.quiet_share == 0
    assert clean.flat_top_share == 0
    clipped = np.clip(4 * tone(2, 100), -0.6, 0.6).astype(np.float32)
    silent = np.concatenate([clipped, np.zeros(32_000, np.float32)])
    cut_off = background(silent, mel_powers([silent])[0])
    assert cut_off.quiet_share == pytest.approx(0.5, abs=0.02)
    assert cut_off.flat_top_share == pytest.approx(
        0.5 * np.mean(np.abs(4 * tone(2, 100)) > 0.6), rel=0.2
    )
