"""The projector's closed form recovers what was planted, and pairs time with transcript."""

from typing import TypeAlias

import pytest
import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration

from model import projector
from model.encoder import encode_audio, encode_frames
from model.projector import fit_projector, transcript_targets
from tests.support.oracle import FEATURES

Model: TypeAlias = Qwen2AudioForConditionalGeneration


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_planted_map_is_recovered(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_ROWS", 64)  # several blocks, the last one short
    frames = 3 + random(1000, 32, seed=1)
    weight, bias = random(32, 32, seed=2), random(32, seed=3)
    fit_projector(model, frames, frames @ weight + bias, penalty=1e-9)
    linear = model.model.multi_modal_projector.linear
    torch.testing.assert_close(linear.weight, weight.T, atol=1e-4, rtol=0)
    torch.testing.assert_close(linear.bias, bias, atol=1e-3, rtol=0)


def test_the_gradient_of_the_penalised_error_is_zero(model: Model) -> None:
    frames, targets, penalty = random(200, 32, seed=1), random(200, 32, seed=2), 5.0
    fit_projector(model, frames, targets, penalty)
    linear = model.model.multi_modal_projector.linear
    weight, bias = (
        tensor.detach().double().requires_grad_() for tensor in (linear.weight, linear.bias)
    )
    error = (frames.double() @ weight.T + bias - targets.double()).square().sum()
    (error + penalty * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    # Of the order of 1 when the penalty is left out; the parameters are rounded to float32.
    assert float(weight.grad.abs().max()) < 1e-3
    assert float(bias.grad.abs().max()) < 1e-3


def test_a_large_penalty_leaves_the_mean_target(model: Model) -> None:
    frames, targets = 2 + random(50, 32, seed=1), 7 + random(50, 32, seed=2)
    fit_projector(model, frames, targets, penalty=1e12)
    projected = model.model.multi_modal_projector(frames)
    torch.testing.assert_close(projected, targets.mean(0).expand(50, -1), atol=1e-5, rtol=0)


def test_fewer_frames_than_features_have_a_solution(model: Model) -> None:
    frames, targets = random(5, 32, seed=1), random(5, 32, seed=2)
    fit_projector(model, frames, targets, penalty=1e-6)
    projected = model.model.multi_modal_projector(frames)
    torch.testing.assert_close(projected, targets, atol=1e-3, rtol=0)


def test_audio_tokens_meet_the_transcript_in_order(model: Model) -> None:
    rows = model.model.language_model.embed_tokens.weight
    targets = transcript_targets(model, [[7, 8], [9, 10, 11], [12]], [5, 2, 1])
    # floor(j * 2 / 5) for j = 0..4, floor(j * 3 / 2) for j = 0, 1
    assert torch.equal(targets, rows[torch.tensor([7, 7, 7, 8, 8, 9, 10, 12])])
    assert not targets.requires_grad


def test_a_fitted_projector_brings_audio_nearer_to_its_words(model: Model) -> None:
    clips = list(FEATURES.values())
    frames, counts = encode_frames(model, clips)
    targets = transcript_targets(model, [[20 + i, 30 + i] for i in range(len(clips))], counts)
    before = (encode_audio(model, clips)[0] - targets).square().mean()
    fit_projector(model, frames, targets, penalty=1.0)
    tokens, _ = encode_audio(model, clips)
    assert (tokens - targets).square().mean() < 0.1 * before
    # A solution of least squares is no worse than the best constant.
    assert (tokens - targets).square().mean() < (targets - targets.mean(0)).square().mean()


def test_what_does_not_fit_is_refused(model: Model) -> None:
    frames, targets = random(6, 32, seed=1), random(6, 32, seed=2)
    with pytest.raises(ValueError, match=r"frames are \(6, 32\) and targets \(5, 32\)"):
        fit_projector(model, frames, targets[:5], 1.0)
    with pytest.raises(ValueError, match=r"frames are \(6, 31\) .* needs \[N, 32\]"):
        fit_projector(model, frames[:, 1:], targets, 1.0)
    with pytest.raises(ValueError, match=r"one N above 0"):
        fit_projector(model, frames[:0], targets[:0], 1.0)
    for penalty in (0.0, float("nan")):
        with pytest.raises(ValueError, match=f"the penalty is {penalty}"):
            fit_projector(model, frames, targets, penalty)
    with pytest.raises(ValueError, match="clip 1 has an empty transcript"):
        transcript_targets(model, [[1], []], [2, 2])
