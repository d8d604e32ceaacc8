"""Shapes of models that are still to be made or fetched: configurations without weights.

A plan counts parameters, operations and bytes with them. Weights that can't be read have the shape
that was published under their name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    PreTrainedConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2Config,
)

from model.audio import MAX_POSITIONS
from model.checkpoints import qwen_layout
from model.parts import part_of
from model.tuning import TuningRecipe, apply_tuning


def _whisper(layers: int, width: int, heads: int, num_mel_bins: int = 80) -> dict[str, Any]:
    return {
        "model_type": "whisper",
        "num_mel_bins": num_mel_bins,
        "encoder_layers": layers,
        "d_model": width,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
    }


def _qwen2(layers: int, width: int, heads: int, kv_heads: int, ffn: int, vocab: int) -> Any:
    return {
        "model_type": "qwen2",
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ffn,
        "vocab_size": vocab,
    }


_LARGE_V3 = _whisper(32, 1280, 20, num_mel_bins=128)
_PUBLISHED: Mapping[str, dict[str, Any]] = {
    "whisper-tiny": _whisper(4, 384, 6),
    "whisper-base": _whisper(6, 512, 8),
    "whisper-small": _whisper(12, 768, 12),
    "whisper-medium": _whisper(24, 1024, 16),
    "whisper-large-v3": _LARGE_V3,
    "smollm2-135m": _qwen2(30, 576, 9, 3, 1536, 49_152) | {"model_type": "llama"},
    "qwen2-0.5b": _qwen2(24, 896, 14, 2, 4864, 151_936),
    "qwen2-1.5b": _qwen2(28, 1536, 12, 2, 8960, 151_936),
    "qwen2-7b": _qwen2(28, 3584, 28, 4, 18_944, 152_064),
    "qwen-7b": _qwen2(32, 4096, 32, 32, 11_008, 151_936),
    "qwen2-audio-7b": {
        "model_type": "qwen2_audio",
        "audio_config": _LARGE_V3 | {"model_type": "qwen2_audio_encoder"},
        "text_config": _qwen2(32, 4096, 32, 32, 11_008, 156_032),
    },
}
"""Fields of the published `config.json` that a model's size depends on, by lower-case name. Qwen-7B
is given in Qwen2's layout."""


def published_config(location: str) -> dict[str, Any] | None:
    """Configuration that was published under the last name of a path or URL, if it is known.

    Suffixes of a model's name, such as `-Instruct`, do not change its shape.
    """
    name = location.rstrip("/").rsplit("/", 1)[-1].lower().replace("qwen2.5", "qwen2")
    known = [known for known in _PUBLISHED if name == known or name.startswith(f"{known}-")]
    return _PUBLISHED[max(known, key=len)] if known else None


def released_shape(raw: Mapping[str, Any]) -> Qwen2AudioConfig:
    """Configuration of a Qwen2-Audio from its `config.json`."""
    return Qwen2AudioConfig(**raw)


def towers_shape(audio_encoder: Mapping[str, Any], language_model: Mapping[str, Any]) -> Any:
    """Configuration that `assemble` gives to two towers, from their `config.json`.

    It leaves out the few tokens that are added to the vocabulary.
    """
    names = ("num_mel_bins", "encoder_layers", "d_model", "encoder_attention_heads")
    sizes = {name: audio_encoder[name] for name in (*names, "encoder_ffn_dim")}
    return Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "max_source_positions": MAX_POSITIONS,
            **sizes,
        },
        text_config=_text_shape(language_model).to_dict(),
        audio_token_index=0,
    )


def _text_shape(raw: Mapping[str, Any]) -> PreTrainedConfig:
    kind = raw["model_type"]
    if kind == "qwen":
        return qwen_layout.qwen2_config(raw)
    return (LlamaConfig if kind == "llama" else Qwen2Config)(**raw)


@dataclass(frozen=True)
class ParameterCount:
    """Number of parameters of a model, and of those that learn."""

    frozen: int
    trained: int
    trained_products: int
    """Learning parameters of matrix products and convolutions, without embeddings."""
    passing_products: int
    """Frozen parameters through which a gradient passes."""
    largest_trained: int
    """Parameters of the largest tensor that learns."""
    largest_layer: int
    outside_layers: int
    """Parameters outside of layers: embeddings, head, projector, convolutions."""

    @property
    def total(self) -> int:
        """Number of all parameters."""
        return self.frozen + self.trained


def count_parameters(config: Qwen2AudioConfig, tuning: TuningRecipe) -> ParameterCount:
    """Count the parameters of a shape under a tuning; takes no memory for any of them."""
    with torch.device("meta"):
        model = Qwen2AudioForConditionalGeneration(config)
        apply_tuning(model, tuning, seed=0)
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    total = sum(p.numel() for p in model.parameters())
    weights = {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d)
    }
    without_gradient = [] if tuning.audio_encoder != "frozen" else ["audio_encoder"]
    layers = [
        sum(p.numel() for p in layer.parameters())
        for layer in (*model.model.language_model.layers, *model.model.audio_tower.layers)
    ]
    return ParameterCount(
        frozen=total - sum(trained),
        trained=sum(trained),
        trained_products=sum(w.numel() for w in weights.values() if w.requires_grad),
        passing_products=sum(
            w.numel()
            for name, w in weights.items()
            if not w.requires_grad and part_of(name) not in without_gradient
        ),
        largest_trained=max(trained),
        largest_layer=max(layers, default=0),
        outside_layers=total - sum(layers),
    )
