"""Counts follow the reference's rules; what can't be heard is refused with a remedy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.audio import (
    MAX_SAMPLES,
    MIN_SAMPLES,
    AudioError,
    check_waveform,
    num_audio_tokens,
    num_feature_frames,
    num_mel_frames,
    num_tokens_of_features,
    window_lengths,
)


@pytest.mark.parametrize("num_samples", [MIN_SAMPLES, 480, 481, 639, 640, 641, 16_000, 480_000])
def test_tokens_follow_the_published_length_rule(num_samples: int) -> None:
    frames = num_mel_frames(num_samples)
    assert frames == len(range(0, num_samples, 160))
    assert num_audio_tokens(num_samples) == ((frames - 1) // 2 + 1 - 2) // 2 + 1
    assert num_tokens_of_features(num_feature_frames(num_samples)) == num_audio_tokens(num_samples)


def test_30_seconds_make_750_tokens_and_the_shortest_clip_one() -> None:
    assert num_audio_tokens(MAX_SAMPLES) == 750
    assert num_audio_tokens(MIN_SAMPLES) == 1
    assert num_audio_tokens(MIN_SAMPLES - 1) == 0


@pytest.mark.parametrize(
    ("num_samples", "windows"),
    [
        (MAX_SAMPLES + 320, [480_000]),  # the rest gives no token
        (MAX_SAMPLES + 321, [480_000, 321]),
        (70 * 16_000, [480_000, 480_000, 160_000]),
        (2 * MAX_SAMPLES, [480_000, 480_000]),
    ],
)
def test_a_long_clip_takes_the_tokens_of_its_windows(num_samples: int, windows: list[int]) -> None:
    assert window_lengths(num_samples) == windows
    assert num_audio_tokens(num_samples) == sum(num_audio_tokens(n) for n in windows)
    assert num_feature_frames(num_samples) == sum(num_feature_frames(n) for n in windows)
    assert num_tokens_of_features(num_feature_frames(num_samples)) == num_audio_tokens(num_samples)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sound_waveform_becomes_float32(dtype: type) -> None:
    waveform = check_waveform(np.linspace(-1, 1, 1000).astype(dtype), 16_000, "clip")
    assert waveform.dtype == torch.float32
    assert waveform.shape == (1000,)


def _with(value: float) -> NDArray[np.float32]:
    waveform = np.zeros(1000, np.float32)
    waveform[7] = value
    return waveform


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(1000, np.float32), 44_100, "44100 Hz.*Resample"),
        (np.zeros(1000, np.int16), 16_000, "int16.*Divide"),
        (np.zeros((2, 1000), np.float32), 16_000, r"\(2, 1000\).*Mix"),
        (np.zeros(0, np.float32), 16_000, "is empty"),
        (_with(np.nan), 16_000, "nan at sample 7"),
        (_with(-np.inf), 16_000, "-inf at sample 7"),
        (np.zeros(320, np.float32), 16_000, "320 samples; fewer than 321"),
    ],
)
def test_what_cannot_be_heard_is_refused(
    waveform: NDArray[np.floating], rate: int, message: str
) -> None:
    with pytest.raises(AudioError, match=f"'bark'.*{message}"):
        check_waveform(waveform, rate, "bark")
