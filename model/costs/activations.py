"""Bytes of activations that a packed training step keeps for its backward pass.

Counted tensor by tensor, as torch's autograd keeps them for transformers' layers: h is the text's
width, a that of its attention (heads x head size), f its feed-forward width; d and g are the
encoder's width and feed-forward width. The method is that of Korthikanti et al. 2022 ("Reducing
Activation Recomputation in Large Transformer Models", section 4), for other layers: theirs have no
gate and no separate rotation, and keep the scores, which today's kernels recompute.
"""

from dataclasses import dataclass
from typing import Literal

from transformers import Qwen2AudioConfig

from model.costs.flops import Learning, StepSizes
from model.forward import LOGIT_ROWS
from model.tuning import TuningRecipe

Dtype = Literal["float32", "bfloat16", "autocast"]
"""Type of all tensors; under autocast products are bfloat16, and weights, norms and the residual
stream float32."""


@dataclass(frozen=True)
class Activations:
    """Bytes of activations of one micro-batch."""

    text: int
    """Kept by the language model's layers, its last norm and the positions of audio in the row."""
    audio: int
    """Kept by the encoder and the projector."""
    text_layer: int
    """Needed by the backward pass of one layer: its gradients, and with checkpointing what its
    forward pass recomputes."""
    audio_layer: int
    """Needed by the backward pass of one layer of the encoder."""
    logits: int
    """Needed by the loss's backward pass: logits and gradients of one block of labels."""

    @property
    def peak(self) -> int:
        """Largest sum of them at one time, without the gradients of weights."""
        return max(
            self.text + self.audio + max(self.logits, self.text_layer),
            self.audio + self.audio_layer,
        )


def learning_under(tuning: TuningRecipe) -> Learning:
    """Return which parts learn under a recipe."""
    methods = {
        "audio_encoder": tuning.audio_encoder,
        "projector": tuning.projector,
        "language_model": tuning.language_model,
    }
    return Learning(
        parts=frozenset(part for part, method in methods.items() if method != "frozen"),  # type: ignore[misc]
        in_full=frozenset(part for part, method in methods.items() if method == "full"),  # type: ignore[misc]
    )


def activations(
    config: Qwen2AudioConfig,
    tuning: TuningRecipe,
    sizes: StepSizes,
    dtype: Dtype,
    checkpointing: bool,
) -> Activations:
    """Count the bytes of activations of a step over one micro-batch."""
    text, audio = config.text_config, config.audio_config
    wide, narrow = _widths(dtype)
    tokens, positions = sizes.num_positions, sizes.audio_positions
    audio_tokens, frames = positions // 2, 2 * positions + 2 * len(sizes.window_positions)
    h, d = text.hidden_size, audio.d_model

    text_layer = tokens * _text_layer(config, tuning, dtype)
    text_input = tokens * h * wide
    layers = text.num_hidden_layers * (text_input if checkpointing else text_layer)
    final_norm = tokens * h * wide
    if tuning.language_model == "full":
        final_norm += tokens * h * wide + sizes.num_labels * h * narrow
    rotation = 2 * tokens * _head_dim(config) * 4
    gradients = tokens * (2 * h * wide + 3 * text.intermediate_size * narrow)

    # Checkpointing keeps the layers' inputs of an encoder, too, that is frozen.
    kept_layers = audio.encoder_layers * positions * d * wide if checkpointing else 0
    encoded = audio_layer = audio_gradients = 0
    projector = audio_tokens * (d * narrow + h * wide)
    if tuning.audio_encoder != "frozen":
        audio_layer = positions * _audio_layer(config, tuning, dtype)
        if not checkpointing:
            kept_layers = audio.encoder_layers * audio_layer
        projector += audio_tokens * d * wide
        if tuning.audio_encoder == "full":
            # Two convolutions: their inputs, and what the activations behind them are given.
            encoded = narrow * (frames * (audio.num_mel_bins + 2 * d) + frames // 2 * d)
        audio_gradients = positions * (2 * d * wide + 2 * audio.encoder_ffn_dim * narrow)
    return Activations(
        text=layers + final_norm + rotation,
        audio=encoded + kept_layers + projector,
        text_layer=gradients + (text_layer if checkpointing else 0),
        audio_layer=audio_gradients + (audio_layer if checkpointing else 0),
        logits=_logits(sizes.num_labels, text.vocab_size, dtype),
    )


def _widths(dtype: Dtype) -> tuple[int, int]:
    """Bytes a value of the residual stream and its norms, and of products."""
    return {"float32": (4, 4), "bfloat16": (2, 2), "autocast": (4, 2)}[dtype]


def _head_dim(config: Qwen2AudioConfig) -> int:
    text = config.text_config
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def _text_layer(config: Qwen2AudioConfig, tuning: TuningRecipe, dtype: Dtype) -> int:
    """Bytes a position that one decoder layer keeps.

    Two norms keep what they are given, and in order to learn what they normalise it to; the
    projections keep their inputs in order to learn, of which autocast makes a copy for each.
    Attention keeps query, key, value (for every head: the GPU's kernel keeps fewer where heads
    share keys, so there this is an upper bound), output and one sum a head; the gated block both of
    its branches, the activated gate and their product.
    """
    text = config.text_config
    wide, narrow = _widths(dtype)
    h, f = text.hidden_size, text.intermediate_size
    a = text.num_attention_heads * _head_dim(config)
    sums = 4 * (text.num_attention_heads + 2)
    through = int(2 * h * wide + (4 * a + 3 * f) * narrow + sums)
    if tuning.language_model == "frozen":
        return through
    inputs = (5 if dtype == "autocast" else 2) * h + a + f
    if tuning.language_model == "full":
        return int(through + 2 * h * wide + inputs * narrow)
    return int(through + (inputs + 7 * tuning.lora_rank) * narrow)


def _audio_layer(config: Qwen2AudioConfig, tuning: TuningRecipe, dtype: Dtype) -> int:
    """Bytes a position that one encoder layer keeps when it learns: two norms' inputs, the
    projections' inputs, query, key, value and output, both sides of the activation.
    """
    audio = config.audio_config
    wide, narrow = _widths(dtype)
    d, g = audio.d_model, audio.encoder_ffn_dim
    inputs = (5 if dtype == "autocast" else 3) * d
    adapters = 6 * tuning.lora_rank if tuning.audio_encoder == "lora" else 0
    sums = 4 * (audio.encoder_attention_heads + 4)
    return int(2 * d * wide + (inputs + 4 * d + 2 * g + adapters) * narrow + sums)


def _logits(num_labels: int, vocab_size: int, dtype: Dtype) -> int:
    """Log-probabilities in float32, their gradient and that of the logits; in reduced precision the
    logits' own gradient once more.
    """
    copy = 0 if dtype == "float32" else 2
    return min(num_labels, LOGIT_ROWS) * vocab_size * (3 * 4 + copy)
