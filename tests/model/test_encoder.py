"""The packed encoder equals transformers' padded and masked one."""

import pytest
import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration

from model.audio import MAX_SAMPLES, num_audio_tokens
from model.encoder import encode_audio
from model.features import log_mel_spectrogram
from tests.support.oracle import CLIPS, FEATURES, RECIPE, make_waveform, reference_tokens


def test_any_batch_of_clips_equals_the_reference(model: Qwen2AudioForConditionalGeneration) -> None:
    lengths = [321, 480, 481, 16_000, MAX_SAMPLES, 23_456, 16_000, 479_801, 640]
    waveforms = [make_waveform(n, seed=n + i) for i, n in enumerate(lengths)]
    tokens, counts = encode_audio(model, log_mel_spectrogram(waveforms, RECIPE.num_mel_bins))
    assert counts == tuple(num_audio_tokens(n) for n in lengths)
    expected = torch.cat(reference_tokens(model, waveforms))
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)


def test_70_seconds_are_the_references_tokens_of_three_clips(
    model: Qwen2AudioForConditionalGeneration,
) -> None:
    long = make_waveform(70 * 16_000, seed=8)
    windows = list(long.split(MAX_SAMPLES))
    before, after = make_waveform(20_000, seed=9), make_waveform(MAX_SAMPLES, seed=10)
    features = log_mel_spectrogram([before, long, after], RECIPE.num_mel_bins)
    tokens, counts = encode_audio(model, features)
    assert len(windows) == 3
    assert counts == (num_audio_tokens(20_000), 750 + 750 + 250, 750)
    expected = [reference_tokens(model, [clip])[0] for clip in (before, *windows, after)]
    torch.testing.assert_close(tokens, torch.cat(expected), atol=1e-5, rtol=0)


def test_a_clip_is_encoded_alike_alone_and_in_any_company(
    model: Qwen2AudioForConditionalGeneration,
) -> None:
    names = ["long", "shortest", "even", "odd", "even too"]
    tokens, counts = encode_audio(model, [FEATURES[name] for name in names])
    for name, part in zip(names, tokens.split(counts), strict=True):
        alone, _ = encode_audio(model, [FEATURES[name]])
        torch.testing.assert_close(part, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_the_reference(
    model: Qwen2AudioForConditionalGeneration, checkpointing: bool
) -> None:
    waveforms = list(CLIPS.values())
    weight = torch.randn(RECIPE.text_width, generator=torch.Generator().manual_seed(1))
    model.train()

    def gradients(tokens: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        (tokens @ weight).square().mean().backward()
        return {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }

    expected = gradients(torch.cat(reference_tokens(model, waveforms)))
    if checkpointing:
        model.activation_checkpointing_enable()
    ours = gradients(encode_audio(model, list(FEATURES.values()))[0])
    assert ours.keys() == expected.keys()
    assert len(ours) > 30
    for name, gradient in ours.items():
        error = (gradient - expected[name]).norm() / expected[name].norm().clamp(min=1e-3)
        assert error < 1e-5, name


@pytest.mark.parametrize(
    ("bins", "frames", "message"),
    [
        (80, 0, "has 0 mel frames, 0 of them"),
        (80, 4, "has 4 mel frames, 4 of them"),
        (80, 7, "has 7 mel frames, 7 of them"),
        (80, 3004, "has 3004 mel frames, 2 of them"),
        (80, 6009, "has 6009 mel frames, 5 of them"),
        (128, 100, "has 128 mel bins; this encoder takes 80. Make"),
    ],
)
def test_features_of_another_form_are_refused(
    model: Qwen2AudioForConditionalGeneration, bins: int, frames: int, message: str
) -> None:
    with pytest.raises(ValueError, match=f"clip 1 of the batch {message}"):
        encode_audio(model, [FEATURES["odd"], torch.zeros(bins, frames)])
