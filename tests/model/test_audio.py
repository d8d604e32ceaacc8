"""Counts of frames and tokens follow the reference's rules."""

import pytest

from model.audio import (
    MAX_SAMPLES,
    MIN_SAMPLES,
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
