"""Losses and log-probabilities equal those of transformers' forward, sequence by sequence."""

from typing import TypeAlias

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model import forward
from model.batch import AnswerPair, collate, collate_pairs
from model.forward import cross_entropy, label_log_probs, pair_log_probs
from model.sequence import TokenSequence, render_answer
from tests.support.oracle import CONVERSATIONS, FEATURES, prompt_of, reference_logits, tokens_of

Model: TypeAlias = Qwen2AudioForConditionalGeneration


@pytest.fixture
def sequences(processor: Qwen2AudioProcessor) -> list[TokenSequence]:
    return [tokens_of(conversation, processor) for conversation in CONVERSATIONS]


def reference_log_probs(model: Model, sequence: TokenSequence) -> Tensor:
    targets = sequence.is_label.nonzero()[0]
    rows = reference_logits(model, sequence)[targets - 1].log_softmax(-1)
    return rows[range(len(targets)), sequence.input_ids[targets]]


def reference_loss(model: Model, sequences: list[TokenSequence], smoothing: float) -> Tensor:
    total = torch.zeros(())
    for sequence in sequences:
        targets = sequence.is_label.nonzero()[0]
        total = total + functional.cross_entropy(
            reference_logits(model, sequence)[targets - 1],
            torch.from_numpy(sequence.input_ids[targets]),
            reduction="sum",
            label_smoothing=smoothing,
        )
    return total


def test_every_label_is_as_probable_as_in_the_reference(
    model: Model, sequences: list[TokenSequence]
) -> None:
    scores = label_log_probs(model, collate(sequences, FEATURES))
    expected = [reference_log_probs(model, sequence) for sequence in sequences]
    torch.testing.assert_close(scores.log_probs, torch.cat(expected), atol=1e-5, rtol=0)
    answers = torch.stack([log_probs.sum() for log_probs in expected])
    torch.testing.assert_close(
        scores.sum_by_sequence(len(sequences)), answers, atol=1e-4, rtol=1e-6
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_equal_the_reference(
    model: Model, sequences: list[TokenSequence], smoothing: float, checkpointing: bool
) -> None:
    model.train()
    batch = collate(sequences, FEATURES)
    expected = reference_loss(model, sequences, smoothing) / batch.num_labels
    expected.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    if checkpointing:
        model.activation_checkpointing_enable()
    loss = cross_entropy(model, batch, smoothing) / batch.num_labels
    loss.backward()
    assert abs(float((loss - expected).detach())) < 1e-5
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            error = (parameter.grad - gradients[name]).norm()
            assert error < 1e-5 * gradients[name].norm().clamp(min=1e-2), name


def test_the_loss_is_the_same_under_any_split_and_order(
    model: Model, sequences: list[TokenSequence]
) -> None:
    def loss(*parts: list[TokenSequence]) -> float:
        return sum(cross_entropy(model, collate(part, FEATURES), 0.1).item() for part in parts)

    whole = loss(sequences)
    assert loss(sequences[::-1]) == pytest.approx(whole, rel=1e-6)
    assert loss(sequences[:2], sequences[2:]) == pytest.approx(whole, rel=1e-6)
    assert loss(*([sequence] for sequence in sequences)) == pytest.approx(whole, rel=1e-6)


def test_many_labels_in_blocks_give_the_same_loss_and_gradients(
    model: Model, sequences: list[TokenSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss_and_gradient() -> tuple[float, Tensor]:
        model.zero_grad()
        loss = cross_entropy(model, collate(sequences, FEATURES), 0.0)
        loss.backward()
        return loss.item(), model.lm_head.weight.grad.clone()

    whole, gradient = loss_and_gradient()
    monkeypatch.setattr(forward, "LOGIT_ROWS", 7)
    blocks, gradient_in_blocks = loss_and_gradient()
    assert blocks == pytest.approx(whole, rel=1e-6)
    torch.testing.assert_close(gradient_in_blocks, gradient, atol=1e-5, rtol=1e-5)


def test_a_clip_heard_by_several_sequences_is_encoded_once(
    sequences: list[TokenSequence],
) -> None:
    heard = [clip for sequence in sequences for clip in sequence.clip_ids]
    batch = collate(sequences, FEATURES)
    assert len(heard) == 7
    assert len(batch.features) == len(set(heard)) == 5


def test_text_alone_gives_the_encoder_a_zero_gradient(
    model: Model, sequences: list[TokenSequence]
) -> None:
    batch = collate([sequences[2]], FEATURES)
    expected = reference_loss(model, [sequences[2]], 0.0)
    loss = cross_entropy(model, batch, 0.0)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=0)
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
    assert not model.model.audio_tower.conv1.weight.grad.any()


def test_features_of_another_length_than_the_sequence_expects_are_refused(
    sequences: list[TokenSequence],
) -> None:
    with pytest.raises(ValueError, match=r"clip 'odd' takes 18 tokens .* make 1"):
        collate(sequences, {**FEATURES, "odd": FEATURES["shortest"]})


@pytest.fixture
def pairs(processor: Qwen2AudioProcessor) -> list[AnswerPair]:
    answers = [("a dog", "rain falls on a"), ("the", "the quick"), ("dog barks", "40")]
    return [
        AnswerPair(
            prompt_of(conversation, processor),
            render_answer(chosen, conversation, processor.tokenizer),
            render_answer(rejected, conversation, processor.tokenizer),
        )
        for conversation, (chosen, rejected) in zip(
            [CONVERSATIONS[0], CONVERSATIONS[3], CONVERSATIONS[2]], answers, strict=True
        )
    ]


def apart(pair: AnswerPair, answer: tuple[int, ...]) -> TokenSequence:
    """[prompt | answer] as a sequence of its own."""
    ids = torch.tensor(answer).numpy()
    labels = torch.ones(len(answer), dtype=torch.bool).numpy()
    return TokenSequence(
        input_ids=torch.cat(
            [torch.from_numpy(pair.prompt.input_ids), torch.from_numpy(ids)]
        ).numpy(),
        is_label=torch.cat(
            [torch.from_numpy(pair.prompt.is_label), torch.from_numpy(labels)]
        ).numpy(),
        clip_ids=pair.prompt.clip_ids,
        tokens_per_clip=pair.prompt.tokens_per_clip,
        audio_positions=pair.prompt.audio_positions,
    )


def test_a_tree_of_pairs_equals_two_forwards_and_the_reference(
    model: Model, pairs: list[AnswerPair]
) -> None:
    both = pair_log_probs(model, collate_pairs(pairs, FEATURES))
    for side, log_probs in zip(("chosen", "rejected"), both, strict=True):
        sequences = [apart(pair, getattr(pair, side)) for pair in pairs]
        scores = label_log_probs(model, collate(sequences, FEATURES))
        expected = [reference_log_probs(model, sequence).sum() for sequence in sequences]
        separate = scores.sum_by_sequence(len(pairs))
        torch.testing.assert_close(log_probs, separate, atol=0, rtol=2e-6)
        torch.testing.assert_close(log_probs, torch.stack(expected), atol=0, rtol=2e-6)


def test_gradients_through_a_tree_equal_two_forwards(model: Model, pairs: list[AnswerPair]) -> None:
    chosen, rejected = pair_log_probs(model, collate_pairs(pairs, FEATURES))
    functional.softplus(0.1 * (rejected - chosen)).sum().backward()
    in_tree = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    separate = []
    for side in ("chosen", "rejected"):
        batch = collate([apart(pair, getattr(pair, side)) for pair in pairs], FEATURES)
        separate.append(label_log_probs(model, batch).sum_by_sequence(len(pairs)))
    functional.softplus(0.1 * (separate[1] - separate[0])).sum().backward()
    for name, gradient in in_tree.items():
        expected = dict(model.named_parameters())[name].grad
        error = (gradient - expected).norm()
        assert error < 1e-4 * expected.norm().clamp(min=1e-2), name
