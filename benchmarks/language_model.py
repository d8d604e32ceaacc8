"""Rows 4 and 5: the loss head, and text packed instead of padded."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.harness import Condition, Row, memory_row, race
from benchmarks.texts import IGNORED, answers, padded, transcripts, without_audio
from benchmarks.workload import (
    NO_AUDIO,
    Models,
    build,
    gradient_error,
    loss_error,
    relative_error,
    train,
)
from model.batch import collate
from model.forward import cross_entropy
from model.sequence import TokenSequence

_HEAD = {
    "num_hidden_layers": 0,
    "hidden_size": 512,
    "intermediate_size": 8,
    "vocab_size": 151_936,
}
_LAYERS = {
    "num_hidden_layers": 4,
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 1024,
    "vocab_size": 8192,
}


def loss_head() -> Iterator[Row]:
    """Hidden states to loss and back over the published vocabulary, nothing padded."""
    for name, sequences in _heads():
        head = _Head(sequences)
        yield Row(
            name=f"loss head, {name}",
            work=head.told,
            race=race(head.ours, head.reference),
            goal=0.65 / head.share,
            stretch=0.8 / head.share,
            conditions=head.errors(),
        )


def loss_head_memory() -> Iterator[Row]:
    """What the same takes at most."""
    for name, sequences in _heads():
        head = _Head(sequences)
        yield memory_row(f"loss head, {name}", head.told, head.ours, head.reference, least=4.0)


def packing() -> Iterator[Row]:
    """The layers over packed rows; both sides make logits for labels only."""
    yield _packing("ASR", transcripts(8, _LAYERS["vocab_size"]))
    yield _packing("QA", answers(8, _LAYERS["vocab_size"]))


def _heads() -> list[tuple[str, list[TokenSequence]]]:
    return [
        ("ASR", transcripts(4, _HEAD["vocab_size"])),
        ("QA", answers(4, _HEAD["vocab_size"])),
    ]


class _Head:
    """A loss head over some texts, ours and the reference's."""

    def __init__(self, sequences: Sequence[TokenSequence]) -> None:
        self._models = _text_models(_HEAD)
        for model in (self._models.ours, self._models.reference):
            model.model.language_model.embed_tokens.requires_grad_(False)
        self._batch = batch = collate([without_audio(sequence) for sequence in sequences], {})
        self._labels = torch.full_like(batch.input_ids, IGNORED)
        self._labels[batch.predicting + 1] = batch.labels
        self.ours = train(self._models.ours, self._loss)
        self.reference = train(self._models.reference, self._reference_loss)
        self.share = batch.num_labels / len(batch.input_ids)
        """Of the positions, what is a label."""
        self.told = (
            f"{batch.num_labels} labels in {len(batch.input_ids)} positions, "
            f"{_HEAD['vocab_size']} tokens, width {_HEAD['hidden_size']}"
        )

    def errors(self) -> tuple[Condition, Condition]:
        """Against the formula in float64: float32 over so many classes is no judge."""
        model, batch = self._models.ours, self._batch
        weights = (model.model.language_model.norm.weight, model.lm_head.weight)
        loss = self._loss()
        loss.backward()
        found = [weight.grad for weight in weights]
        model.zero_grad()
        norm, head = (weight.detach().double().requires_grad_() for weight in weights)
        hidden = model.model.language_model.embed_tokens.weight[batch.input_ids[batch.predicting]]
        hidden = hidden.detach().double()
        epsilon = model.config.text_config.rms_norm_eps
        hidden = norm * hidden / (hidden.square().mean(-1, keepdim=True) + epsilon).sqrt()
        log_probs = (hidden @ head.T).log_softmax(-1)
        expected = -log_probs[range(batch.num_labels), batch.labels].mean()
        expected.backward()
        gradients = zip(found, (norm.grad, head.grad), strict=True)
        worst = max(relative_error(mine, exact) for mine, exact in gradients)
        return (
            Condition("loss", relative_error(loss.detach(), expected.detach()), "<=", 1e-6),
            Condition("gradients", worst, "<=", 1e-5),
        )

    def _loss(self) -> Tensor:
        return cross_entropy(self._models.ours, self._batch, 0.0) / self._batch.num_labels

    def _reference_loss(self) -> Tensor:
        input_ids = self._batch.input_ids[None]
        found: Tensor = self._models.reference(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            labels=self._labels[None],
        ).loss
        return found


def _packing(name: str, sequences: Sequence[TokenSequence]) -> Row:
    models = _text_models(_LAYERS)
    sequences = [without_audio(sequence) for sequence in sequences]
    batch = collate(sequences, {})
    rows = padded(sequences)

    def loss() -> Tensor:
        return cross_entropy(models.ours, batch, 0.0) / batch.num_labels

    def padded_loss() -> Tensor:
        hidden = models.reference.model.language_model(
            input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]
        ).last_hidden_state
        targets = rows["labels"][:, 1:]
        predicting = targets != IGNORED
        logits = models.reference.lm_head(hidden[:, :-1][predicting])
        return functional.cross_entropy(logits, targets[predicting])

    efficiency = len(batch.input_ids) / rows["input_ids"].numel()
    return Row(
        name=f"language model packing, {name}",
        work=f"{len(sequences)} sequences, pad efficiency {efficiency:.2f}, "
        f"{_LAYERS['num_hidden_layers']} layers of {_LAYERS['hidden_size']}",
        race=race(train(models.ours, loss), train(models.reference, padded_loss)),
        goal=0.95 / efficiency,
        stretch=1.05 / efficiency,
        conditions=(
            Condition("loss", loss_error(loss, padded_loss), "<=", 1e-5),
            Condition("gradients", gradient_error(models, loss, padded_loss), "<=", 1e-5),
        ),
    )


def _text_models(text: dict[str, int]) -> Models:
    """Without an encoder that would have to be trained."""
    models = build(NO_AUDIO, text)
    for model in (models.ours, models.reference):
        model.model.audio_tower.requires_grad_(False)
        model.model.multi_modal_projector.requires_grad_(False)
    return models
