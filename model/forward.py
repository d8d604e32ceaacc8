"""Forward pass of training: audio encoded once, text packed, logits only where labels are."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import Qwen2AudioForConditionalGeneration

from model.attention import AttentionPlan
from model.audio import MIN_SAMPLES, num_feature_frames
from model.batch import Batch
from model.encoder import encode_audio

LOGIT_ROWS = 4096
"""Labels whose logits exist at one time: 2.5 GB in float32 over 152 k tokens."""


@dataclass(frozen=True)
class LabelScores:
    """Log-probabilities that the model gives to the labels of a batch."""

    log_probs: Tensor
    """float32 [N], differentiable."""
    sequence: Tensor
    """int64 [N]: index of the sequence that each label belongs to."""

    def sum_by_sequence(self, num_sequences: int) -> Tensor:
        """Sum up the log-probability of each whole answer, float32 [num_sequences]."""
        total = self.log_probs.new_zeros(num_sequences)
        return total.index_add(0, self.sequence, self.log_probs)


def cross_entropy(
    model: Qwen2AudioForConditionalGeneration, batch: Batch, label_smoothing: float
) -> Tensor:
    """Sum of the cross-entropy over the batch's labels, a float32 scalar.

    Divide by the number of labels of the whole step (`Batch.num_labels` over all micro-batches and
    workers): then the loss is the same under any split.

    Args:
        model: with `attention.use_packed_attention` applied.
        batch: from `batch.collate` or `collate_pairs`.
        label_smoothing: weight of the uniform distribution in the target, 0 for none.
    """

    def block_loss(hidden: Tensor, labels: Tensor) -> Tensor:
        logits = model.lm_head(hidden).float()
        return functional.cross_entropy(
            logits, labels, reduction="sum", label_smoothing=label_smoothing
        )

    return torch.stack(_over_label_blocks(model, batch, block_loss)).sum()


def label_log_probs(model: Qwen2AudioForConditionalGeneration, batch: Batch) -> LabelScores:
    """Log-probability of each label, in the batch's order; arguments as in `cross_entropy`."""

    def block_log_probs(hidden: Tensor, labels: Tensor) -> Tensor:
        logits = model.lm_head(hidden).float()
        return -functional.cross_entropy(logits, labels, reduction="none")

    log_probs = torch.cat(_over_label_blocks(model, batch, block_log_probs))
    return LabelScores(log_probs, batch.label_sequence.to(log_probs.device))


def pair_log_probs(
    model: Qwen2AudioForConditionalGeneration, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the chosen and of the rejected answers, float32 [number of pairs] each.

    Args:
        batch: from `batch.collate_pairs`.
    """
    scores = label_log_probs(model, batch).sum_by_sequence(2 * len(batch.last_positions))
    return scores[0::2], scores[1::2]


def hidden_states(
    model: Qwen2AudioForConditionalGeneration, batch: Batch, cache: object | None = None
) -> Tensor:
    """Output of the language model at every position, [T, hidden_size], after its last norm.

    Args:
        cache: its `update(keys, values, layer)` is called in every layer; None in training.
    """
    position_ids = batch.position_ids.to(model.device)[None]
    return run_layers(model, _embed(model, batch)[None], position_ids, batch.plan, cache)[0]


def run_layers(
    model: Qwen2AudioForConditionalGeneration,
    embedded: Tensor,
    position_ids: Tensor,
    mask: AttentionPlan | Tensor,
    cache: object | None,
) -> Tensor:
    """Apply the language model's layers and last norm: [batch, time, hidden_size] in and out.

    Layer by layer, because the forwards of Qwen2's and Llama's towers prepare masks differently,
    while their layers pass on the mask that they get.

    Args:
        position_ids: int64 [batch, time].
        mask: a plan, or a tensor that broadcasts to bool [batch, 1, time, columns].
        cache: as in `hidden_states`.
    """
    language_model = model.model.language_model
    rotation = language_model.rotary_emb(embedded, position_ids)
    hidden = embedded
    for layer in language_model.layers:
        hidden = layer(
            hidden,
            attention_mask=mask,
            position_ids=position_ids,
            position_embeddings=rotation,
            past_key_values=cache,
            use_cache=False,
        )
    normalised: Tensor = language_model.norm(hidden)
    return normalised


def _embed(model: Qwen2AudioForConditionalGeneration, batch: Batch) -> Tensor:
    """Embed the tokens, audio tokens by the clips' encodings: [T, hidden_size]."""
    device = model.device
    embedded: Tensor = model.model.language_model.embed_tokens(batch.input_ids.to(device))
    if batch.features:
        audio, _ = encode_audio(model, batch.features)
        rows = audio.index_select(0, batch.audio_sources.to(device))
        return embedded.index_copy(0, batch.audio_positions.to(device), rows.to(embedded.dtype))
    if model.training or torch.is_grad_enabled():
        # Training on several workers waits for the gradient of every parameter on every worker, or
        # gathers every layer, frozen ones too, also where a loss is only evaluated: a batch of text
        # alone encodes a moment of silence, which is multiplied by zero.
        bins = model.config.audio_config.num_mel_bins
        silence, _ = encode_audio(model, [torch.zeros(bins, num_feature_frames(MIN_SAMPLES))])
        return embedded + 0.0 * silence.sum()
    return embedded


def _over_label_blocks(
    model: Qwen2AudioForConditionalGeneration,
    batch: Batch,
    function: Callable[[Tensor, Tensor], Tensor],
) -> list[Tensor]:
    """Apply `function(hidden [n, hidden_size], labels [n])` to blocks of the batch's labels.

    With several blocks, each one's logits are made again in the backward pass instead of kept.
    """
    device = model.device
    hidden = hidden_states(model, batch).index_select(0, batch.predicting.to(device))
    blocks = zip(hidden.split(LOGIT_ROWS), batch.labels.to(device).split(LOGIT_ROWS), strict=True)
    if len(hidden) <= LOGIT_ROWS:
        return [function(*block) for block in blocks]
    return [checkpoint(function, *block, use_reentrant=False) for block in blocks]
