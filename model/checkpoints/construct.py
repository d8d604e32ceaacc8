"""Builds a new, untrained model from a recipe."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
)

from data_contracts.recipe import Recipe
from model.attention import use_packed_attention
from model.audio import MAX_POSITIONS
from model.tokenizer import AUDIO, END_OF_TEXT, TURN_END

_VOCAB_MULTIPLE = 64
"""Matrix kernels run fastest on multiples of it; surplus ids are never a target."""
_MAX_WAVELENGTH = 10_000
"""Longest wavelength of the encoder's sinusoidal positions (Whisper)."""
_POSITION_GAIN = 0.3
_CONVOLUTION_GAIN = 3.0
_EMBEDDING_STD = 0.1

Size = Annotated[int, Field(ge=1)]


class ModelRecipe(Recipe):
    """Everything that determines an untrained model. The defaults are those of the CPU demo."""

    kind: Literal["scratch"] = "scratch"
    """Kind of the start: random weights."""
    num_mel_bins: Size = 80
    """Number of mel channels; 128 in the published model."""
    audio_layers: Size = 3
    """32 in the published model."""
    audio_width: Size = 128
    """Width of the audio encoder; 1280 in the published model."""
    audio_heads: Size = 4
    """20 in the published model."""
    audio_ffn: Size = 512
    """Hidden width of the encoder's feed-forward blocks; 5120 in the published model."""
    text_layers: Size = 2
    """32 in the published model."""
    text_width: Size = 128
    """Width of the language model; 4096 in the published model."""
    text_heads: Size = 4
    """Query heads of the language model; 32 in the published model."""
    text_kv_heads: Size = 4
    """Key and value heads, a divisor of `text_heads`; 32 in the published model."""
    text_ffn: Size = 384
    """Hidden width of the gated feed-forward blocks; 11008 (Qwen-7B) in the published model."""
    vocab_size: Size = 2048
    """Upper bound for the tokenizer trained for this model; 156,032 in the published model."""
    max_text_positions: Size = 8192
    """Longest sequence, audio tokens included, that the checkpoint supports."""
    seed: int = 0
    """Seed of the random initial weights."""

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelRecipe":
        for width, heads in (("audio_width", "audio_heads"), ("text_width", "text_heads")):
            head_dim, rest = divmod(getattr(self, width), getattr(self, heads))
            if rest or head_dim % 2:
                raise ValueError(
                    f"{width} is {getattr(self, width)} and {heads} {getattr(self, heads)}; the "
                    "width must be an even multiple of the heads"
                )
        if self.text_heads % self.text_kv_heads:
            raise ValueError(
                f"text_heads is {self.text_heads} and text_kv_heads {self.text_kv_heads}; the "
                "latter must divide the former"
            )
        return self


def build_model(
    recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast
) -> Qwen2AudioForConditionalGeneration:
    """Build an untrained float32 model in eval mode for `tokenizer`, with packed attention.

    The same recipe and tokenizer give the same weights; the global random state stays untouched.

    Raises:
        ValueError: the tokenizer has more tokens than the recipe allows.
    """
    if len(tokenizer) > recipe.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, the recipe's vocab_size is "
            f"{recipe.vocab_size}. Train the tokenizer with that size or raise it."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        audio_token = tokenizer.convert_tokens_to_ids(AUDIO)
        config = configuration(recipe, len(tokenizer), audio_token)
        model = Qwen2AudioForConditionalGeneration(config).float()
        _initialise(model)
    model.generation_config = generation_config(tokenizer)
    use_packed_attention(model)
    return model.eval()


def generation_config(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """Settings with which transformers' `model.generate` ends an answer where ours does."""
    end_of_text = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    return GenerationConfig(
        bos_token_id=end_of_text,
        eos_token_id=[tokenizer.convert_tokens_to_ids(TURN_END), end_of_text],
        pad_token_id=end_of_text,
    )


def padded_vocab_size(num_tokens: int) -> int:
    """Number of rows of the embeddings for `num_tokens`: the next multiple of 64."""
    return -(-num_tokens // _VOCAB_MULTIPLE) * _VOCAB_MULTIPLE


@torch.no_grad()
def _initialise(model: Qwen2AudioForConditionalGeneration) -> None:
    """Redraw the matrices, so that positions don't outweigh the audio at the start.

    transformers draws every matrix with a deviation of 0.02, which fits widths of about 1,000 and
    leaves a narrow encoder's convolutions at a tenth of the positions that are added to them. With
    a deviation of 1 / sqrt(fan in), larger convolutions and smaller positions, the demo learnt
    digits from half the examples (held-out WER 0.11 instead of 0.41).

    Source: LeCun et al. 1998, "Efficient BackProp", section 4.6, for the deviation.
    """
    positions = model.model.audio_tower.embed_positions
    for name, parameter in model.named_parameters():
        if parameter is positions.weight:
            parameter.copy_(_POSITION_GAIN * sinusoids(*parameter.shape))
        elif name.endswith("embed_tokens.weight"):
            parameter.normal_(0.0, _EMBEDDING_STD)
        elif parameter.dim() > 1:
            gain = _CONVOLUTION_GAIN if parameter.dim() == 3 else 1.0
            parameter.normal_(0.0, gain / math.sqrt(parameter[0].numel()))
    positions.requires_grad_(False)


def sinusoids(length: int, width: int) -> Tensor:
    """Compute Whisper's positions, float32 [length, width]: sines, then cosines, by wavelength.

    transformers initialises them for Whisper but not for Qwen2-Audio, which expects a checkpoint.
    Source: Whisper, `sinusoids`; Vaswani et al. 2017, section 3.5.
    """
    exponent = torch.arange(width // 2) * (math.log(_MAX_WAVELENGTH) / (width // 2 - 1))
    angle = torch.arange(length)[:, None] * torch.exp(-exponent)[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def configuration(recipe: ModelRecipe, num_tokens: int, audio_token: int) -> Qwen2AudioConfig:
    """Configuration of a recipe's model with `num_tokens` tokens, one of which stands for audio."""
    return Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "dtype": "float32",
            "num_mel_bins": recipe.num_mel_bins,
            "encoder_layers": recipe.audio_layers,
            "d_model": recipe.audio_width,
            "encoder_attention_heads": recipe.audio_heads,
            "encoder_ffn_dim": recipe.audio_ffn,
            "max_source_positions": MAX_POSITIONS,
        },
        text_config={
            "model_type": "qwen2",
            "dtype": "float32",
            "vocab_size": padded_vocab_size(num_tokens),
            "num_hidden_layers": recipe.text_layers,
            "hidden_size": recipe.text_width,
            "num_attention_heads": recipe.text_heads,
            "num_key_value_heads": recipe.text_kv_heads,
            "intermediate_size": recipe.text_ffn,
            "max_position_embeddings": recipe.max_text_positions,
        },
        audio_token_index=audio_token,
    )
