"""Generates answers to many prompts at once; recordings and prompts are encoded once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration

from data_contracts.recipe import Recipe
from model.batch import collate
from model.cache import DecodeCache, PromptCache
from model.forward import hidden_states, run_layers
from model.sequence import TokenSequence


class GenerationSettings(Recipe):
    """How answers are generated."""

    max_new_tokens: Annotated[int, Field(ge=1)]
    """Longest answer; one without a stop token by then ends unfinished."""
    num_samples: Annotated[int, Field(ge=1)] = 1
    """Number of answers per prompt."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Temperature of sampling; 0 takes the most probable token each time."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw among the most probable tokens that together reach this probability."""
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """One generated answer."""

    token_ids: tuple[int, ...]
    """Tokens of the answer, without the stop token."""
    log_prob: float
    """Natural log-probability of the answer at temperature 1, the stop token included."""
    finished: bool
    """Whether the answer ends with a stop token; False where `max_new_tokens` cut it."""


@dataclass
class _Row:
    """An answer that is being generated."""

    name: str
    sample: int
    token_ids: list[int]
    log_prob: float = 0.0
    finished: bool = False


@torch.inference_mode()
def generate(
    model: Qwen2AudioForConditionalGeneration,
    prompts: Sequence[TokenSequence],
    features: Mapping[str, Tensor],
    settings: GenerationSettings,
    stop_ids: frozenset[int],
    names: Sequence[str],
) -> list[list[Sample]]:
    """Generate `settings.num_samples` answers to every prompt.

    A sampled token depends on the model, the prompt, the seed, the prompt's name, the index of the
    sample and the step, but not on the batch, its order or the number of samples.

    Args:
        model: in eval mode, with `attention.use_packed_attention` applied.
        prompts: from `sequence.render_prompt`.
        features: log-mel features by clip id.
        stop_ids: tokens that end an answer.
        names: one per prompt, such as the conversation's id; it seeds the random numbers.

    Raises:
        ValueError: the model is in training mode, or the numbers of names and prompts differ.
    """
    if model.training:
        raise ValueError(
            "the model is in training mode, in which dropout is random and gradient checkpointing "
            "drops the cache. Call model.eval() before."
        )
    if len(names) != len(prompts):
        raise ValueError(
            f"{len(prompts)} prompts have {len(names)} names; give one for each, they seed the "
            "samples."
        )
    if not prompts:
        return []
    num_samples = settings.num_samples
    batch = collate(prompts, features)
    prompt_cache = PromptCache()
    hidden = hidden_states(model, batch, prompt_cache)[batch.last_positions.to(model.device)]
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    cache = DecodeCache(prompt_cache, lengths, num_samples)
    logits = model.lm_head(hidden).repeat_interleave(num_samples, dim=0)
    answers = [[_Row(name, k, []) for k in range(num_samples)] for name in names]
    rows = [row for samples in answers for row in samples]

    for step in range(settings.max_new_tokens):
        tokens = _choose(logits.float(), rows, step, settings)
        _append(rows, tokens, logits, stop_ids)
        live = [i for i, row in enumerate(rows) if not row.finished]
        if not live or step + 1 == settings.max_new_tokens:
            break
        if len(live) < len(rows):
            rows = [rows[i] for i in live]
            cache.keep(torch.tensor(live))
            tokens = tokens[live]
        logits = _next_logits(model, tokens, cache)
    return [
        [Sample(tuple(row.token_ids), row.log_prob, row.finished) for row in samples]
        for samples in answers
    ]


def _next_logits(
    model: Qwen2AudioForConditionalGeneration, tokens: Tensor, cache: DecodeCache
) -> Tensor:
    """Decode one step, a token per row: logits [rows, vocab_size]."""
    position_ids = cache.begin_step()
    embedded = model.model.language_model.embed_tokens(tokens)
    hidden = run_layers(model, embedded[None], position_ids[None], cache, cache)
    logits: Tensor = model.lm_head(hidden[0])
    return logits


def _append(rows: list[_Row], tokens: Tensor, logits: Tensor, stop_ids: frozenset[int]) -> None:
    chosen = logits.float().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    for row, token, log_prob in zip(rows, tokens.tolist(), chosen.tolist(), strict=True):
        row.log_prob += log_prob
        row.finished = token in stop_ids
        if not row.finished:
            row.token_ids.append(token)


def _choose(
    logits: Tensor, rows: Sequence[_Row], step: int, settings: GenerationSettings
) -> Tensor:
    """Choose the next token of every row, int64 [rows]."""
    if settings.temperature == 0:
        return logits.argmax(-1)
    # In float64 and in the vocabulary's order: rounding that differs between batches moves a
    # boundary of the cumulative sum by 1e-7, where a sort might swap two tokens.
    probabilities = (logits.double() / settings.temperature).softmax(-1)
    if settings.top_p < 1:
        ranked, ranking = probabilities.sort(-1, descending=True)
        outside = ranked.cumsum(-1) - ranked >= settings.top_p
        probabilities = probabilities.scatter(-1, ranking, ranked.masked_fill(outside, 0.0))
    cumulative = probabilities.cumsum(-1)
    draws = [_uniform(settings.seed, row.name, row.sample, step) for row in rows]
    drawn = torch.tensor(draws, dtype=torch.float64, device=logits.device)[:, None]
    # `right` skips tokens of probability 0, whose boundary equals their predecessor's.
    return torch.searchsorted(cumulative, drawn * cumulative[:, -1:], right=True)[:, 0]


def _uniform(seed: int, name: str, sample: int, step: int) -> float:
    """Random number in [0, 1) that depends on the seed, prompt, sample and step alone."""
    key = hashlib.sha256(f"{seed}/{sample}/{step}/{name}".encode()).digest()
    return int.from_bytes(key[:8], "big") / 2**64
