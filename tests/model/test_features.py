"""The mel equals WhisperFeatureExtractor's."""

import pytest
import torch
from torch import Tensor

from model.audio import MAX_SAMPLES, AudioError
from model.features import log_mel_spectrogram
from tests.support.oracle import make_waveform, reference_features

LENGTHS = [321, 479, 480, 481, 16_000, 16_001, 33_333, 100_159, 160_000]
ENDS = [479_679, 479_799, 479_800, 479_801, 479_999, MAX_SAMPLES]


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_a_batch_of_random_lengths_equals_the_reference(num_mel_bins: int) -> None:
    waveforms = [make_waveform(n, seed=n) for n in [*LENGTHS, *ENDS]]
    for waveform, features in zip(
        waveforms, log_mel_spectrogram(waveforms, num_mel_bins), strict=True
    ):
        expected = reference_features(waveform, num_mel_bins)
        assert features.shape == expected.shape
        assert features.is_contiguous()
        torch.testing.assert_close(features, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "waveform",
    [
        torch.zeros(5000),
        torch.cat([make_waveform(400, seed=1), torch.zeros(30_000)]),
        torch.cat([torch.zeros(30_000), make_waveform(400, seed=1)]),
        1e-4 * make_waveform(8000, seed=2),
        torch.sin(torch.arange(48_000) * 0.3),
    ],
    ids=["silence", "silence after a click", "click at the end", "quiet", "tone"],
)
def test_silence_quiet_and_pure_sounds_equal_the_reference_features(waveform: Tensor) -> None:
    features = log_mel_spectrogram([waveform], 80)[0]
    torch.testing.assert_close(features, reference_features(waveform, 80), atol=1e-6, rtol=0)


def test_a_long_clip_has_the_features_of_its_windows_and_not_of_what_is_too_short_for_one() -> None:
    waveform = make_waveform(2 * MAX_SAMPLES + 320, seed=3)
    windows = [waveform[:MAX_SAMPLES], waveform[MAX_SAMPLES:-320]]
    (features, short) = log_mel_spectrogram([waveform, waveform[:5000]], 80)
    expected = torch.cat([reference_features(window, 80) for window in windows], dim=1)
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=0)
    assert features.is_contiguous()
    torch.testing.assert_close(short, reference_features(waveform[:5000], 80), atol=1e-6, rtol=0)


def test_what_has_no_token_or_no_such_mel_bins_is_refused() -> None:
    clips = [make_waveform(n, seed=1) for n in (1000, 320)]
    with pytest.raises(AudioError, match=r"clip 1 .* has 320 samples; fewer than 321.*Leave"):
        log_mel_spectrogram(clips, 80)
    with pytest.raises(AudioError, match=r"num_mel_bins is 64; .* 80 or 128. Take"):
        log_mel_spectrogram(clips[:1], 64)


def test_no_clips_give_no_features() -> None:
    assert log_mel_spectrogram([], 80) == []
