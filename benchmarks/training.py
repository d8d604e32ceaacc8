"""Rows 6 and 7: whole optimizer steps, features given."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.harness import Condition, Row, Work, memory_row, race
from benchmarks.texts import answers, continued, padded, preferences, transcripts
from benchmarks.workload import (
    SMALL_AUDIO,
    SMALL_TEXT,
    WIDTHS,
    Loss,
    Model,
    build,
    by_number,
    clips,
    gradient_error,
    loss_error,
    padded_features,
    relative_error,
)
from model.batch import Batch, collate, collate_pairs
from model.features import log_mel_spectrogram
from model.forward import cross_entropy, pair_log_probs
from model.losses import dpo_loss
from model.sequence import TokenSequence
from tasks.training.optimizer import build_optimizer
from tasks.training.recipe import OptimizerRecipe

_EXAMPLES = 6
_PAIRS = 4
_BETA = 0.1
_VOCAB = SMALL_TEXT["vocab_size"]
_RECIPE = OptimizerRecipe(steps=1, examples_per_step=1, learning_rate=1e-5, warmup_steps=0)


def sft_step() -> Iterator[Row]:
    """Encoder, language model, loss, backward and AdamW, everything trained."""
    for name, sequences in _tuned():
        sft = _Sft(sequences)
        yield Row(
            name=f"SFT step, {name}",
            work=sft.told,
            race=race(sft.ours, sft.reference),
            goal=2.0,
            stretch=2.5,
            conditions=sft.errors,
        )


def sft_memory() -> Iterator[Row]:
    """What the same takes at most."""
    for name, sequences in _tuned():
        sft = _Sft(sequences)
        yield memory_row(f"SFT step, {name}", sft.told, sft.ours, sft.reference, least=1.8)


def dpo_step() -> Iterator[Row]:
    """The same over preference pairs, with the frozen model's log-probabilities cached or not.

    The reference pads chosen and rejected answers as one batch, for policy and frozen model: it
    encodes every clip four times. It computes the frozen model's side in both rows.
    """
    work = _Preferences()
    yield work.row("DPO step, cached", work.cached_loss, goal=4.5, stretch=5.3)
    yield work.row("DPO step, computed", work.computed_loss, goal=3.5, stretch=4.1)


def _tuned() -> list[tuple[str, list[TokenSequence]]]:
    return [("ASR", transcripts(_EXAMPLES, _VOCAB)), ("QA", answers(_EXAMPLES, _VOCAB))]


class _Sft:
    """Steps over some examples, ours and the reference's, and how they differ before the first."""

    def __init__(self, sequences: Sequence[TokenSequence]) -> None:
        models = build(SMALL_AUDIO, SMALL_TEXT)
        waveforms = clips(len(sequences))
        features = by_number(log_mel_spectrogram(waveforms, SMALL_AUDIO["num_mel_bins"]))
        inputs = padded(sequences) | padded_features(waveforms, SMALL_AUDIO["num_mel_bins"])

        def loss() -> Tensor:
            batch = collate(sequences, features)
            return cross_entropy(models.ours, batch, 0.0) / batch.num_labels

        def reference_loss() -> Tensor:
            found: Tensor = models.reference(**inputs).loss
            return found

        self.errors = (
            Condition("loss", loss_error(loss, reference_loss), "<=", 2e-5),
            Condition("gradients", gradient_error(models, loss, reference_loss), "<=", 1e-4),
        )
        self.ours = _step(models.ours, loss)
        self.reference = _step(models.reference, reference_loss)
        self.told = f"{len(sequences)} examples, {WIDTHS}"


class _Preferences:
    """Pairs, a policy and a frozen model with other weights."""

    def __init__(self) -> None:
        self._policy = build(SMALL_AUDIO, SMALL_TEXT, seed=0)
        self._frozen = build(SMALL_AUDIO, SMALL_TEXT, seed=1)
        self._pairs = preferences(_PAIRS, _VOCAB)
        waveforms = clips(_PAIRS)
        bins = SMALL_AUDIO["num_mel_bins"]
        self._features = by_number(log_mel_spectrogram(waveforms, bins))
        self._inputs = padded(
            [continued(pair.prompt, pair.chosen) for pair in self._pairs]
            + [continued(pair.prompt, pair.rejected) for pair in self._pairs]
        ) | padded_features(waveforms * 2, bins)
        with torch.no_grad():
            self._cached = pair_log_probs(self._frozen.ours, self._batch())

    def row(self, name: str, loss: Loss, goal: float, stretch: float) -> Row:
        """Race `loss` against the reference's."""
        models = self._policy
        with torch.no_grad():
            found = torch.cat(pair_log_probs(models.ours, self._batch()))
            error = relative_error(found, self._reference_log_probs(models.reference))
        conditions = (
            Condition("log-prob", error, "<=", 2e-6),
            Condition("loss", loss_error(loss, self.reference_loss), "<=", 1e-4),
            Condition("gradients", gradient_error(models, loss, self.reference_loss), "<=", 1e-4),
        )
        return Row(
            name=name,
            work=f"{_PAIRS} pairs, {WIDTHS}",
            race=race(_step(models.ours, loss), _step(models.reference, self.reference_loss)),
            goal=goal,
            stretch=stretch,
            conditions=conditions,
        )

    def cached_loss(self) -> Tensor:
        """The frozen model's log-probabilities were computed once."""
        policy = pair_log_probs(self._policy.ours, self._batch())
        return dpo_loss(*policy, *self._cached, _BETA).losses.mean()

    def computed_loss(self) -> Tensor:
        """They are computed in every step."""
        batch = self._batch()
        with torch.no_grad():
            frozen = pair_log_probs(self._frozen.ours, batch)
        return dpo_loss(*pair_log_probs(self._policy.ours, batch), *frozen, _BETA).losses.mean()

    def reference_loss(self) -> Tensor:
        """Both answers of a pair in one batch, under both models."""
        with torch.no_grad():
            frozen = self._reference_log_probs(self._frozen.reference)
        ratio = self._reference_log_probs(self._policy.reference) - frozen
        chosen, rejected = ratio.chunk(2)
        return -functional.logsigmoid(_BETA * (chosen - rejected)).mean()

    def _batch(self) -> Batch:
        return collate_pairs(self._pairs, self._features)

    def _reference_log_probs(self, model: Model) -> Tensor:
        """Log-probability of each answer, all chosen ones first: [2 * pairs]."""
        inputs = {name: tensor for name, tensor in self._inputs.items() if name != "labels"}
        logits = model(**inputs).logits[:, :-1]
        losses = functional.cross_entropy(
            logits.transpose(1, 2), self._inputs["labels"][:, 1:], reduction="none"
        )
        return -losses.sum(1)


def _step(model: Model, loss: Loss) -> Work:
    """One optimizer step as `tasks.training.objective` defines it."""
    optimizer = build_optimizer(model, _RECIPE)

    def work() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), _RECIPE.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    return work
