"""Floating-point operations of a pass: those of matrix products and attention.

An operation is a multiplication or an addition: the product [m, k] @ [k, n] takes 2 m k n. Norms,
activations and other elementwise work are not counted, as is usual.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from model.attention import Packed
from model.audio import MAX_MEL_FRAMES, MAX_POSITIONS, WINDOW_FRAMES
from model.batch import Batch
from model.parts import Part, part_of

_PEAK_SIDE = {"cpu": 512, "cuda": 8192}
"""Rows of the product by which a machine's peak is measured: so few that some of many rounds run
undisturbed also on a busy machine."""
_PEAK_ROUNDS = 3
_PEAK_SECONDS = 0.1
_KERNEL = 3
"""Width of both convolutions of the encoder."""


@dataclass(frozen=True)
class Flops:
    """Operations of one forward pass."""

    products: int
    """Products with weights: matrix products and convolutions."""
    attention: int
    """Attention scores, and the values weighted by them."""

    @property
    def forward(self) -> int:
        """Operations of the forward pass alone."""
        return self.products + self.attention

    @property
    def trained(self) -> int:
        """Operations forward and backward, with gradients of inputs and weights.

        Attention's backward pass has five products where the forward pass has two: the kernels
        recompute the scores instead of keeping them.
        """
        return 3 * self.products + 7 * self.attention // 2

    @property
    def frozen(self) -> int:
        """Operations forward and backward through frozen weights, with gradients of inputs only."""
        return 2 * self.products + 7 * self.attention // 2

    def __add__(self, other: "Flops") -> "Flops":
        """Add the operations of two parts."""
        return Flops(self.products + other.products, self.attention + other.attention)


def encoder_flops(config: Qwen2AudioConfig, num_positions: Sequence[int]) -> Flops:
    """Operations of the packed encoder and projector (`encoder.encode_audio`) over clips."""
    frames = sum(2 * count + 2 for count in num_positions)
    num_tokens = sum(count // 2 for count in num_positions)
    return _encoder(config, frames, num_positions, num_tokens)


def padded_encoder_flops(config: Qwen2AudioConfig, num_clips: int) -> Flops:
    """Operations of the reference's encoder and projector: 30 s for every clip."""
    num_positions = [MAX_POSITIONS] * num_clips
    return _encoder(config, MAX_MEL_FRAMES * num_clips, num_positions, sum(num_positions) // 2)


def language_model_flops(
    config: Qwen2AudioConfig, sequence_lengths: Sequence[int], num_labels: int
) -> Flops:
    """Operations of the packed language model (`forward.hidden_states`) with `num_labels` logits.

    Causal attention counts a position's scores with itself and those before it only.
    """
    plan = Packed(tuple(sequence_lengths), causal=True)
    return _language_model(config, plan.num_positions, round(4 * plan.num_pairs), num_labels)


@dataclass(frozen=True)
class StepSizes:
    """Sizes of a packed batch that operations and memory depend on."""

    num_positions: int
    """Number of positions in the language model's row."""
    num_pairs: float
    """Number of attention scores per head: `attention.Packed.num_pairs`."""
    num_labels: int
    window_positions: tuple[int, ...]
    """Positions of each window of audio in the encoder: two per token."""

    @property
    def audio_positions(self) -> int:
        """Positions of all windows."""
        return sum(self.window_positions)


def sizes_of(batch: Batch) -> StepSizes:
    """Sizes of a given batch."""
    windows = (w for clip in batch.features for w in clip.split(WINDOW_FRAMES, dim=1))
    return StepSizes(
        num_positions=batch.plan.num_positions,
        num_pairs=batch.plan.num_pairs,
        num_labels=batch.num_labels,
        window_positions=tuple(window.shape[1] // 2 - 1 for window in windows),
    )


@dataclass(frozen=True)
class Learning:
    """Which parts of the model learn."""

    parts: frozenset[Part]
    """Parts that learn, in full or through adapters."""
    in_full: frozenset[Part]


def learning_of(model: Qwen2AudioForConditionalGeneration) -> Learning:
    """Return which parts learn in a model that `tuning.apply_tuning` has prepared."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    return Learning(
        parts=frozenset(part_of(name) for name in trained),
        in_full=frozenset(part_of(name) for name in trained if ".lora_" not in name),
    )


def step_flops(model: Qwen2AudioForConditionalGeneration, batch: Batch) -> int:
    """Operations of one training step over a packed batch: see `training_flops`."""
    return training_flops(model.config, sizes_of(batch), learning_of(model))


def training_flops(config: Qwen2AudioConfig, sizes: StepSizes, learning: Learning) -> int:
    """Operations of one training step: each part forward, and backward where needed.

    A part learns in full, or is frozen with no learning part before it (forward alone), or passes a
    gradient on: a frozen one to the parts before it, an adapted one to its adapters, whose own
    small products are not counted.
    """
    encoder = encoder_flops(config, sizes.window_positions)
    text = _language_model(
        config, sizes.num_positions, round(4 * sizes.num_pairs), sizes.num_labels
    )
    flops = text.trained if "language_model" in learning.in_full else text.frozen
    if "audio_encoder" in learning.in_full:
        return flops + encoder.trained
    return flops + (encoder.frozen if "audio_encoder" in learning.parts else encoder.forward)


def checkpointing_flops(model: Qwen2AudioForConditionalGeneration, batch: Batch) -> int:
    """Operations that gradient checkpointing adds to `step_flops`: see `recomputed_flops`."""
    return recomputed_flops(model.config, sizes_of(batch), learning_of(model))


def recomputed_flops(config: Qwen2AudioConfig, sizes: StepSizes, learning: Learning) -> int:
    """Operations that gradient checkpointing of every layer adds to `training_flops`: one more
    forward pass of the layers, in the towers that learn or pass a gradient on.

    The last product of a layer is not recomputed: the backward pass needs its inputs alone.
    """
    text, audio = config.text_config, config.audio_config
    last_product = 2 * sizes.num_positions * text.num_hidden_layers * text.hidden_size
    flops = _text_layers(config, sizes.num_positions, round(4 * sizes.num_pairs)).forward
    flops -= int(last_product * text.intermediate_size)
    if "audio_encoder" not in learning.parts:
        return flops
    last_product = 2 * sizes.audio_positions * audio.encoder_layers * audio.d_model
    return (
        flops
        + _encoder_layers(config, sizes.window_positions).forward
        - int(last_product * audio.encoder_ffn_dim)
    )


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the operations a second of a large matrix product here, as the peak of this machine.

    The best of as many as fit into a tenth of a second: other processes make most of them slower.
    """
    side = _PEAK_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds: list[float] = []
    while len(seconds) < _PEAK_ROUNDS or sum(seconds) < _PEAK_SECONDS:
        started = time.perf_counter()
        # Reading one number waits for the device.
        float((left @ right)[0, 0])
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds)


def padded_language_model_flops(config: Qwen2AudioConfig, batch_size: int, longest: int) -> Flops:
    """Operations of the reference's language model: padded to the longest row, logits everywhere.

    Padding needs a mask, and with a mask the kernels compute the whole square of scores.
    """
    positions = batch_size * longest
    return _language_model(config, positions, 4 * positions * longest, positions)


def _encoder(
    config: Qwen2AudioConfig, frames: int, num_positions: Sequence[int], num_tokens: int
) -> Flops:
    audio = config.audio_config
    width = audio.d_model
    convolutions = frames * _KERNEL * (audio.num_mel_bins * width + width * width // 2)
    projector = num_tokens * width * config.text_config.hidden_size
    around = Flops(products=2 * (convolutions + projector), attention=0)
    return around + _encoder_layers(config, num_positions)


def _encoder_layers(config: Qwen2AudioConfig, num_positions: Sequence[int]) -> Flops:
    audio = config.audio_config
    width, layers = audio.d_model, audio.encoder_layers
    weights = 4 * width * width + 2 * width * audio.encoder_ffn_dim
    scores = sum(count**2 for count in num_positions)
    return Flops(
        products=2 * layers * sum(num_positions) * weights, attention=4 * layers * scores * width
    )


def _language_model(
    config: Qwen2AudioConfig, positions: int, attention: int, num_logits: int
) -> Flops:
    text = config.text_config
    head = Flops(products=2 * num_logits * text.hidden_size * text.vocab_size, attention=0)
    return head + _text_layers(config, positions, attention)


def _text_layers(config: Qwen2AudioConfig, positions: int, attention: int) -> Flops:
    """Operations of all layers; `attention` is that of one layer per unit of its width."""
    text = config.text_config
    hidden, layers, heads = text.hidden_size, text.num_hidden_layers, text.num_attention_heads
    width = hidden // heads * heads
    kv_width = hidden // heads * text.num_key_value_heads
    weights = 2 * hidden * (width + kv_width) + 3 * hidden * text.intermediate_size
    return Flops(products=2 * layers * positions * weights, attention=layers * attention * width)
