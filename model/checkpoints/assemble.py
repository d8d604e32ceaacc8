"""Assembles a Qwen2-Audio from Whisper's encoder, a language model and a new projector."""

import math
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)

from model.attention import use_packed_attention
from model.checkpoints.adopted_tokenizer import adopt, read_tokenizer
from model.checkpoints.construct import generation_config, padded_vocab_size
from model.checkpoints.towers import read_language_model, read_whisper_encoder
from model.checkpoints.weights import CheckpointError
from model.tokenizer import AUDIO, build_processor

_EMBEDDINGS = "language_model.model.embed_tokens.weight"
_HEAD = "language_model.lm_head.weight"
_PROJECTOR = "multi_modal_projector.linear"


def assemble(
    whisper: Path, language_model: Path, seed: int
) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
    """Assemble a float32 model in eval mode with packed attention, and its processor.

    The encoder before its pooling, and the language model's logits of its own tokens, are those of
    the two checkpoints. Control tokens that the language model's tokenizer lacks take spare rows of
    its matrices, then new ones. No more memory is needed than that of the model.

    Args:
        whisper: see `towers.read_whisper_encoder`.
        language_model: see `towers.read_language_model`, with its tokenizer in the same folder
            (`adopted_tokenizer.read_tokenizer`).
        seed: for the projector; the global random state stays untouched.

    Raises:
        CheckpointError: a folder does not hold the checkpoint that is expected there.
        ValueError: the language model has a sliding window.
    """
    audio_config, audio = read_whisper_encoder(whisper)
    text_config, tensors = read_language_model(language_model)
    theirs = read_tokenizer(language_model)
    tokenizer = adopt(theirs)
    num_tokens = theirs.get_vocab_size()
    if num_tokens > text_config.vocab_size:
        raise CheckpointError(
            f"{language_model} has a tokenizer of {num_tokens} tokens and {text_config.vocab_size} "
            "embeddings; each token needs one. Give the tokenizer that belongs to the model."
        )
    for name in (_EMBEDDINGS, _HEAD):
        tensors[name] = extend_rows(tensors[name], num_tokens, len(tokenizer))
    tensors |= {f"audio_tower.{name}": tensor for name, tensor in audio.items()}
    gains = audio["layer_norm.weight"].square() + audio["layer_norm.bias"].square()
    tensors[f"{_PROJECTOR}.weight"] = _projection(
        tensors[_EMBEDDINGS][:num_tokens], gains, torch.Generator().manual_seed(seed)
    )
    tensors[f"{_PROJECTOR}.bias"] = torch.zeros(text_config.hidden_size)

    text_config.vocab_size = len(tensors[_EMBEDDINGS])
    # A padding id would freeze that token's embedding; packed text has no padding.
    text_config.pad_token_id = None
    config = Qwen2AudioConfig(
        audio_config=audio_config.to_dict(),
        text_config=text_config.to_dict() | {"dtype": "float32"},
        audio_token_index=tokenizer.convert_tokens_to_ids(AUDIO),
    )
    model = Qwen2AudioForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=tensors, dtype=torch.float32
    )
    model.generation_config = generation_config(tokenizer)
    model.model.audio_tower.embed_positions.requires_grad_(False)
    use_packed_attention(model)
    return model.eval(), build_processor(tokenizer, audio_config.num_mel_bins)


def extend_rows(matrix: Tensor, num_tokens: int, num_wanted: int) -> Tensor:
    """Fill rows [num_tokens, num_wanted) of a matrix with the mean of those before; pad it.

    With the mean, the distribution over the old tokens only changes by new tokens that are as
    probable as the old ones are on average. Spare rows after `num_wanted` stay.

    Args:
        matrix: float32 [rows, hidden_size], rows >= num_tokens; changed in place where it has
            enough rows.

    Source: Hewitt 2021, "Initializing new word embeddings for pretrained language models".
    """
    mean = matrix[:num_tokens].mean(0)
    if num_wanted > len(matrix):
        appended = mean.expand(padded_vocab_size(num_wanted) - len(matrix), -1)
        matrix = torch.cat([matrix, appended])
    matrix[num_tokens:num_wanted] = mean
    return matrix


def _projection(embeddings: Tensor, gains: Tensor, generator: torch.Generator) -> Tensor:
    """Draw [hidden_size, d_audio] so that projected audio has the scale of the text's embeddings.

    A feature of the encoder's last norm has the mean square weight^2 + bias^2, its `gain`
    [d_audio], so a deviation of rms(embeddings) / sqrt(sum of gains) gives every output the
    embeddings' root mean square.
    """
    loudness: Tensor = torch.linalg.vector_norm(embeddings) / math.sqrt(embeddings.numel())
    weight = torch.randn(embeddings.shape[1], len(gains), generator=generator)
    return weight * (loudness / gains.sum().sqrt())
