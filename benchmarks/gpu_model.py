"""The model that `gpu` measures: the published shape, or one that any machine holds."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.workload import Model, configuration
from model.attention import use_packed_attention


@dataclass(frozen=True)
class Shape:
    """A model and how much work it is given."""

    audio: Mapping[str, int]
    text: Mapping[str, int]
    token_budgets: tuple[int, ...]
    """Most packed tokens of a step."""
    most_padded: int
    """Largest batch that is tried of the reference."""
    sampled_rows: int
    """Answers that are written at once."""
    new_tokens: tuple[int, int]
    """Lengths of answers; their difference in time is that of the steps between."""
    rounds: int


SHAPES = {
    "published": Shape(
        audio={
            "num_mel_bins": 128,
            "encoder_layers": 32,
            "d_model": 1280,
            "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
        },
        text={
            "num_hidden_layers": 32,
            "hidden_size": 4096,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "intermediate_size": 11_008,
            "vocab_size": 156_032,
        },
        token_budgets=(2048, 4096, 8192),
        most_padded=64,
        sampled_rows=64,
        new_tokens=(16, 80),
        rounds=5,
    ),
    "tiny": Shape(
        audio={
            "num_mel_bins": 80,
            "encoder_layers": 2,
            "d_model": 32,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
        },
        text={
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "vocab_size": 128,
        },
        token_budgets=(512, 1024),
        most_padded=2,
        sampled_rows=4,
        new_tokens=(2, 4),
        rounds=1,
    ),
}


def build(shape: Shape, device: torch.device) -> Model:
    """Random bfloat16 weights, drawn on the device; all but the positions are trained, and every
    layer is checkpointed in training mode.
    """
    config = configuration(shape.audio, shape.text)
    with device:
        model: Model = Model._from_config(config, dtype=torch.bfloat16)
    use_packed_attention(model)
    model.activation_checkpointing_enable()
    # transformers lets inputs require gradients then, which sends the backward pass through a
    # frozen encoder for nothing.
    model.disable_input_require_grads()
    return model


@contextmanager
def frozen_encoder(model: Model) -> Iterator[None]:
    """Fine-tuning of the projector and the language model alone."""
    trained = [p for p in model.model.audio_tower.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def reference_attention(model: Model) -> Iterator[None]:
    """transformers' own attention and masks."""
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        use_packed_attention(model)
