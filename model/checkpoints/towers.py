"""Reads pre-trained towers from their own checkpoints, with the names of Qwen2-Audio.

Whisper's encoder is Qwen2-Audio's except for the pooling, which has no parameters; a Qwen2 or Llama
serves as its language model unchanged; first-generation Qwen has other names.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2AudioEncoder,
    Qwen2AudioEncoderConfig,
    Qwen2Config,
    WhisperConfig,
)

from model.audio import MAX_POSITIONS
from model.checkpoints import qwen_layout
from model.checkpoints.weights import (
    CheckpointError,
    read_config,
    read_tensors,
    refusing_config,
    tensor_files,
)

_WHISPER_NOT_ENCODER = r"^(model\.)?decoder\.|^proj_out\.weight$"
"""Other tensors of a Whisper checkpoint, which Qwen2-Audio's language model replaces."""
_CARRIED = (
    "num_mel_bins",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "d_model",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "activation_function",
    "scale_embedding",
    "max_source_positions",
)
"""Fields that Whisper's configuration and the encoder's share. `encoder_layerdrop` stays 0: packed
training knows no layer drop."""
_HEAD = "lm_head.weight"
_EMBEDDINGS = "model.embed_tokens.weight"


def read_whisper_encoder(directory: Path) -> tuple[Qwen2AudioEncoderConfig, dict[str, Tensor]]:
    """Read the encoder of a Whisper of any size: its configuration, and float32 tensors by the
    names of `Qwen2AudioEncoder`.

    Args:
        directory: folder that `save_pretrained` of WhisperForConditionalGeneration or WhisperModel
            wrote, or a snapshot of a published Whisper. The decoder's tensors are not read and
            need not be there.

    Raises:
        CheckpointError: the architecture differs, the positions are not those of 30 s, or tensors
            don't fit the configuration.
    """
    read_config(directory, ["whisper"])
    with refusing_config(directory):
        whisper = WhisperConfig.from_pretrained(directory, local_files_only=True)
    if whisper.max_source_positions != MAX_POSITIONS:
        raise CheckpointError(
            f"{directory} has max_source_positions {whisper.max_source_positions}; features are "
            f"made for {MAX_POSITIONS} (30 s). Take a Whisper of that length."
        )
    with refusing_config(directory), torch.device("meta"):
        config = Qwen2AudioEncoderConfig(
            **{name: getattr(whisper, name) for name in _CARRIED}, dtype="float32"
        )
        shapes = _shapes(Qwen2AudioEncoder(config))
    prefix = "model.encoder." if _has_prefix(directory, "model.") else "encoder."
    sources = {prefix + name: {name: shape} for name, shape in shapes.items()}
    return config, read_tensors(directory, sources, _WHISPER_NOT_ENCODER)


def read_language_model(directory: Path) -> tuple[PreTrainedConfig, dict[str, Tensor]]:
    """Read a causal language model: the configuration of the text tower, and float32 tensors by
    their names in released Qwen2-Audio checkpoints.

    The output matrix is always among them: for tied embeddings it is a copy, because Qwen2-Audio's
    class in transformers ties nothing and draws a missing matrix at random. The configuration says
    so (`tie_word_embeddings` is False).

    Args:
        directory: a "qwen2" or "llama" in transformers' layout, or a "qwen" (Qwen-7B) in its own.

    Raises:
        CheckpointError: the architecture differs, or tensors don't fit the configuration.
    """
    raw = read_config(directory, ["qwen2", "llama", "qwen"])
    with refusing_config(directory), torch.device("meta"):
        config = _text_config(directory, raw)
        # Ours takes the place of whatever attention the configuration asks for.
        network = AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation="eager")
        shapes = _shapes(network)
    if raw["model_type"] == "qwen":
        names = qwen_layout.qwen2_names(config.num_hidden_layers)
        ignored = qwen_layout.NOT_WEIGHTS
    else:
        names = {name: (name,) for name in shapes}
        ignored = r"rotary_emb\.inv_freq$"
    tied = config.tie_word_embeddings and _HEAD not in tensor_files(directory)
    if tied:
        del names[_HEAD]
    sources = {source: {part: shapes[part] for part in parts} for source, parts in names.items()}
    tensors = read_tensors(directory, sources, ignored)
    if tied:
        tensors[_HEAD] = tensors[_EMBEDDINGS].clone()
    config.tie_word_embeddings = False
    return config, {f"language_model.{name}": tensor for name, tensor in tensors.items()}


def _text_config(directory: Path, raw: Mapping[str, Any]) -> PreTrainedConfig:
    if raw["model_type"] != "qwen":
        kind = Qwen2Config if raw["model_type"] == "qwen2" else LlamaConfig
        return kind.from_pretrained(directory, local_files_only=True)
    try:
        return qwen_layout.qwen2_config(raw)
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{directory / 'config.json'} has no Qwen2 counterpart: {error}. Take a published "
            "first-generation Qwen."
        ) from error


def _has_prefix(directory: Path, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensor_files(directory))


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
