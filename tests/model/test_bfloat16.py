"""With weights in bfloat16 we are no further from the exact result than the reference is.

The exact result is transformers' forward in float32 with the same rounded weights. The same
batches go through the reference's forward in bfloat16.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.batch import AnswerPair, Batch, collate, collate_pairs
from model.encoder import encode_audio
from model.forward import cross_entropy, hidden_states
from model.sequence import TokenSequence
from tests.support.oracle import (
    CLIPS,
    CONVERSATIONS,
    FEATURES,
    prompt_of,
    reference_logits,
    reference_tokens,
    tokens_of,
)

Model: TypeAlias = Qwen2AudioForConditionalGeneration
Compute = Callable[[Model], Tensor]

BOUND = 1.2
"""Of the reference's own error, norms over all values of four models."""


@pytest.fixture
def models(model: Model) -> Iterator[Model]:
    """Four bfloat16 models: one alone may be lucky."""
    generator = torch.Generator().manual_seed(11)

    def perturbed() -> Iterator[Model]:
        for _ in range(4):
            changed = deepcopy(model)
            with torch.no_grad():
                for parameter in changed.parameters():
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
            yield changed.bfloat16()

    return perturbed()


def error_ratio(models: Iterator[Model], ours: Compute, reference: Compute) -> float:
    """Our error as a part of the reference's."""
    found, theirs = [], []
    for model in models:
        exact = reference(deepcopy(model).float())
        found.append((ours(model).float() - exact).norm())
        theirs.append((reference(deepcopy(model)).float() - exact).norm())
    assert min(theirs) > 0
    return float(torch.stack(found).norm() / torch.stack(theirs).norm())


def logits_of(model: Model, batch: Batch, places: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(hidden_states(model, batch)[places])
    return logits


@torch.no_grad()
def test_audio_tokens(models: Iterator[Model]) -> None:
    names = ["odd", "shortest"]
    ratio = error_ratio(
        models,
        lambda model: encode_audio(model, [FEATURES[name] for name in names])[0],
        lambda model: torch.cat(reference_tokens(model, [CLIPS[name] for name in names])),
    )
    assert ratio < BOUND


@torch.no_grad()
def test_logits_of_packed_sequences(
    models: Iterator[Model], processor: Qwen2AudioProcessor
) -> None:
    sequences = [tokens_of(conversation, processor) for conversation in CONVERSATIONS[:3]]
    batch = collate(sequences, FEATURES)
    ratio = error_ratio(
        models,
        lambda model: logits_of(model, batch, torch.arange(len(batch.input_ids))),
        lambda model: torch.cat([reference_logits(model, sequence) for sequence in sequences]),
    )
    assert ratio < BOUND


@torch.no_grad()
def test_logits_of_trees(models: Iterator[Model], processor: Qwen2AudioProcessor) -> None:
    answers = ((29, 28, 27, 26), (35, 34, 33, 32, 30, 31))
    prompts = [prompt_of(CONVERSATIONS[i], processor) for i in (1, 4)]
    batch = collate_pairs([AnswerPair(prompt, *answers) for prompt in prompts], FEATURES)

    def apart(model: Model, prompt: TokenSequence, answer: tuple[int, ...]) -> Tensor:
        whole = replace(prompt, input_ids=np.append(prompt.input_ids, answer))
        return reference_logits(model, whole)[len(prompt) - 1 : -1]

    ratio = error_ratio(
        models,
        lambda model: logits_of(model, batch, batch.predicting),
        lambda model: torch.cat([apart(model, p, a) for p in prompts for a in answers]),
    )
    assert ratio < BOUND


def test_gradients(models: Iterator[Model], processor: Qwen2AudioProcessor) -> None:
    """Sequence by sequence: where more positions are added up, both sides lose more."""
    sequences = [tokens_of(conversation, processor) for conversation in CONVERSATIONS[:2]]

    def gradients(model: Model, loss: Tensor) -> Tensor:
        model.zero_grad()
        loss.backward()
        found = [p.grad.float() for p in model.parameters() if p.grad is not None]
        assert len(found) > 60
        return torch.cat([gradient.flatten() / gradient.norm() for gradient in found])

    def reference_loss(model: Model, sequence: TokenSequence) -> Tensor:
        targets = sequence.is_label.nonzero()[0]
        log_probs = reference_logits(model, sequence)[targets - 1].float().log_softmax(-1)
        return -log_probs[range(len(targets)), sequence.input_ids[targets]].sum()

    ratio = error_ratio(
        models,
        lambda model: torch.cat(
            [gradients(model, cross_entropy(model, collate([s], FEATURES), 0.0)) for s in sequences]
        ),
        lambda model: torch.cat([gradients(model, reference_loss(model, s)) for s in sequences]),
    )
    assert ratio < BOUND
