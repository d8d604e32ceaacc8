"""What is measured on: clips and texts of real lengths, and one model twice."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    WhisperFeatureExtractor,
)

from model.attention import use_packed_attention
from model.audio import MAX_POSITIONS, SAMPLE_RATE
from model.checkpoints.construct import sinusoids

Model: TypeAlias = Qwen2AudioForConditionalGeneration
Loss = Callable[[], Tensor]

_MEDIAN_SECONDS, _SIGMA = 6.0, 0.7
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.5, 30.0
PAD, AUDIO, FIRST_TEXT = 0, 1, 8

WHISPER_TINY = {
    "num_mel_bins": 80,
    "encoder_layers": 4,
    "d_model": 384,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
}
WHISPER_BASE = WHISPER_TINY | {
    "encoder_layers": 6,
    "d_model": 512,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
}
NO_AUDIO = WHISPER_TINY | {
    "encoder_layers": 0,
    "d_model": 8,
    "encoder_attention_heads": 1,
    "encoder_ffn_dim": 8,
}
SMALL_AUDIO = WHISPER_TINY | {
    "encoder_layers": 2,
    "d_model": 128,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 512,
}
"""With `SMALL_TEXT` a fifth of the reference's operations fall to the encoder and a tenth to the
logits, as in the published model: a larger share of either would flatter us.
"""
SMALL_TEXT = {
    "num_hidden_layers": 4,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "intermediate_size": 1408,
    "vocab_size": 4096,
}
WIDTHS = (
    f"encoder {SMALL_AUDIO['encoder_layers']} x {SMALL_AUDIO['d_model']}, "
    f"language model {SMALL_TEXT['num_hidden_layers']} x {SMALL_TEXT['hidden_size']}"
)


def log_normal(count: int, middle: float, sigma: float, seed: int) -> list[float]:
    """The middles of `count` equal parts of a log-normal distribution, shuffled: the same spread
    in every batch, where a few random draws would be luck.
    """
    values = [
        middle * math.exp(sigma * NormalDist().inv_cdf((i + 0.5) / count)) for i in range(count)
    ]
    order = np.random.default_rng(seed).permutation(count)
    return [values[i] for i in order]


def clip_samples(count: int) -> list[int]:
    """Lengths of clips in samples: median 6 s, mean about 7.6 s, 0.5 to 30 s."""
    seconds = log_normal(count, _MEDIAN_SECONDS, _SIGMA, seed=0)
    return [round(SAMPLE_RATE * min(max(s, _SHORTEST_SECONDS), _LONGEST_SECONDS)) for s in seconds]


def noise(num_samples: int, seed: int) -> Tensor:
    """Noise whose loudness wanders, float32 [num_samples]."""
    random = np.random.default_rng(seed)
    loudness = np.repeat(random.uniform(0.01, 0.3, num_samples // 800 + 1), 800)[:num_samples]
    return torch.from_numpy((random.normal(size=num_samples) * loudness).astype(np.float32))


def clips(count: int) -> list[Tensor]:
    """Waveforms of `clip_samples(count)`."""
    return [noise(samples, seed) for seed, samples in enumerate(clip_samples(count))]


def by_number(features: Sequence[Tensor]) -> dict[str, Tensor]:
    """By the clip ids of the sequences in `texts`."""
    return {str(number): clip for number, clip in enumerate(features)}


def padded_features(waveforms: Sequence[Tensor], num_mel_bins: int) -> dict[str, Tensor]:
    """What the reference's processor hands to its model: 30 s for every clip, and the mask."""
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    inputs = extractor(
        [waveform.numpy() for waveform in waveforms],
        sampling_rate=SAMPLE_RATE,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return {
        "input_features": inputs.input_features,
        "feature_attention_mask": inputs.attention_mask,
    }


@dataclass(frozen=True)
class Models:
    """The same weights twice: ours with packed attention, the reference with its own sdpa."""

    ours: Model
    reference: Model


def configuration(audio: Mapping[str, int], text: Mapping[str, int]) -> Qwen2AudioConfig:
    """A model of these sizes, with a Qwen2 for its text."""
    return Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "max_source_positions": MAX_POSITIONS,
            **audio,
        },
        text_config={"model_type": "qwen2", "max_position_embeddings": 8192, **text},
        audio_token_index=AUDIO,
        pad_token_id=PAD,
    )


def build(audio: Mapping[str, int], text: Mapping[str, int], seed: int = 0) -> Models:
    """Random float32 weights under which every part matters: deviation 1 / sqrt(fan in)."""
    config = configuration(audio, text)
    models = []
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):
        config._attn_implementation = "sdpa"
        models.append(Model(config).float().train())
    ours, reference = models
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, 1 / math.sqrt(fan_in), generator=generator)
        positions = ours.model.audio_tower.embed_positions
        positions.weight.copy_(sinusoids(*positions.weight.shape))
    reference.load_state_dict(ours.state_dict())
    use_packed_attention(ours)
    return Models(ours, reference)


def train(model: Model, loss: Loss) -> Callable[[], None]:
    """Forward and backward as one piece of work that leaves no gradients behind."""

    def work() -> None:
        loss().backward()
        model.zero_grad()

    return work


def gradient_error(models: Models, ours: Loss, reference: Loss) -> float:
    """Largest relative error of a parameter's gradient."""
    ours().backward()
    reference().backward()
    expected = dict(models.reference.named_parameters())
    errors = [
        relative_error(parameter.grad, expected[name].grad)
        for name, parameter in models.ours.named_parameters()
        if parameter.grad is not None
    ]
    models.ours.zero_grad()
    models.reference.zero_grad()
    return max(errors)


@torch.no_grad()
def loss_error(ours: Loss, reference: Loss) -> float:
    """Relative error of a loss."""
    return relative_error(ours(), reference())


def relative_error(found: Tensor | None, expected: Tensor | None) -> float:
    """Norm of the difference as a part of the expected norm."""
    assert found is not None
    assert expected is not None
    return float((found - expected).norm() / expected.norm())
