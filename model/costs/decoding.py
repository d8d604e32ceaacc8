"""Cost of `generate`: operations, bytes held, and bytes read for each new token."""

from dataclasses import dataclass

from transformers import Qwen2AudioConfig

from model.cache import BLOCK
from model.costs.flops import encoder_flops, language_model_flops
from model.costs.shapes import ParameterCount

_FLOAT = 4
_DRAWING = 45
"""Bytes a logit while a token is drawn: itself in float32; probabilities, their ranking and two
copies of them in eight bytes each, and a mask."""


@dataclass(frozen=True)
class AnswerSizes:
    """Sizes of prompts that are answered at once, all counted like the longest."""

    prompts: int
    samples: int
    prompt_tokens: int
    window_positions: tuple[int, ...]
    """Positions in the encoder of each window of one prompt's audio."""
    new_tokens: int
    """Largest number of tokens of one answer."""


def prefill_flops(config: Qwen2AudioConfig, sizes: AnswerSizes) -> int:
    """Operations to encode all prompts once, audio included."""
    hear = encoder_flops(config, sizes.window_positions).forward
    read = language_model_flops(config, (sizes.prompt_tokens,), 1).forward
    return sizes.prompts * (hear + read)


def decoding_flops(config: Qwen2AudioConfig, sizes: AnswerSizes) -> int:
    """Operations to decode all answers to their full length."""
    text = config.text_config
    token = language_model_flops(config, (1,), 1).products
    seen = sum(sizes.prompt_tokens + step for step in range(sizes.new_tokens))
    attention: int = 4 * text.num_hidden_layers * text.hidden_size * seen
    return sizes.prompts * sizes.samples * (sizes.new_tokens * token + attention)


def cache_bytes(config: Qwen2AudioConfig, sizes: AnswerSizes) -> int:
    """Bytes of keys and values: of prompts twice (packed and in rows), of answers in blocks."""
    text = config.text_config
    kv_width = text.hidden_size // text.num_attention_heads * text.num_key_value_heads
    blocks = -(-sizes.new_tokens // BLOCK)
    columns = 2 * sizes.prompt_tokens + sizes.samples * BLOCK * blocks
    return int(2 * text.num_hidden_layers * kv_width * _FLOAT * sizes.prompts * columns)


def answering_bytes(config: Qwen2AudioConfig, count: ParameterCount, sizes: AnswerSizes) -> int:
    """Largest number of bytes at one time: float32 weights, the cache, the logits of a step."""
    rows = sizes.prompts * sizes.samples
    logits: int = rows * config.text_config.vocab_size * _DRAWING
    return _FLOAT * count.total + cache_bytes(config, sizes) + logits


def read_bytes_a_step(config: Qwen2AudioConfig, count: ParameterCount, sizes: AnswerSizes) -> int:
    """Bytes read for one token of every answer: the language model's weights and the cache."""
    return _FLOAT * count.total + cache_bytes(config, sizes)
