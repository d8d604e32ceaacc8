"""Audio encoder over packed clips: equals the masked reference, without its padding."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2AudioForConditionalGeneration
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from model.attention import Packed
from model.audio import (
    MIN_SAMPLES,
    WINDOW_FRAMES,
    num_feature_frames,
    num_tokens_of_features,
)

_SHORTEST_WINDOW = num_feature_frames(MIN_SAMPLES)
"""Fewest frames of a window: 6, which make one token."""


def encode_audio(
    model: Qwen2AudioForConditionalGeneration, features: Sequence[Tensor]
) -> tuple[Tensor, tuple[int, ...]]:
    """Encode clips into the language model's space.

    Args:
        model: with `attention.use_packed_attention` applied.
        features: per clip [num_mel_bins, 2 * L1 + 2], from `features.log_mel_spectrogram`; at
            least one clip. One longer than 30 s is encoded window by window.

    Returns:
        The audio tokens of all clips, concatenated in the order of `features`, [sum of tokens,
        hidden_size]; and the number of tokens of each clip (L1 // 2 per window).

    Raises:
        ValueError: for another number of mel bins than the encoder's, an odd number of frames, or
            a clip or last window without a token.

    Source: `Qwen2AudioEncoder.forward` and `Qwen2AudioModel.forward`, under their padding mask.
    """
    frames, num_tokens = encode_frames(model, features)
    return model.model.multi_modal_projector(frames), num_tokens


def encode_frames(
    model: Qwen2AudioForConditionalGeneration, features: Sequence[Tensor]
) -> tuple[Tensor, tuple[int, ...]]:
    """Encode clips up to the projector's input: [sum of tokens, d_audio], and the number of each.

    Arguments and errors are those of `encode_audio`.
    """
    tower = model.model.audio_tower
    if tower.training and tower.layerdrop > 0:
        raise ValueError(
            f"encoder_layerdrop is {tower.layerdrop}; packed training supports no layer drop. "
            "Set it to 0 in the audio configuration."
        )
    _check_features(features, tower.num_mel_bins)
    windows = [window for clip in features for window in clip.split(WINDOW_FRAMES, dim=1)]
    # Equally long windows become neighbours, so that attention takes them in one call.
    order = torch.tensor([window.shape[1] for window in windows]).argsort(stable=True)
    packed = [windows[i] for i in order.tolist()]
    positions = torch.tensor([window.shape[1] // 2 - 1 for window in packed])

    hidden = _convolve(tower, packed)
    hidden = hidden + tower.embed_positions.weight[count_up(positions).to(hidden.device)]
    hidden = functional.dropout(hidden, p=tower.dropout, training=tower.training)[None]
    plan = Packed(tuple(positions.tolist()), causal=False)
    for layer in tower.layers:
        hidden = layer(hidden, plan)

    # Average pairs, back in the caller's order; the last of an odd number of positions attends
    # but has no partner.
    starts = torch.empty_like(positions)
    starts[order] = positions.cumsum(0) - positions
    num_tokens = torch.empty_like(positions)
    num_tokens[order] = positions // 2
    first = starts.repeat_interleave(num_tokens) + 2 * count_up(num_tokens)
    first = first.to(hidden.device)
    pooled = (hidden[0].index_select(0, first) + hidden[0].index_select(0, first + 1)) / 2
    counts = tuple(num_tokens_of_features(clip.shape[1]) for clip in features)
    return tower.layer_norm(pooled), counts


def count_up(lengths: Tensor) -> Tensor:
    """Count 0, 1, .. length - 1 for every length in turn: [sum of lengths]."""
    starts = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)


def _convolve(tower: Qwen2AudioEncoder, windows: Sequence[Tensor]) -> Tensor:
    """Apply both convolutions to all windows at once: [sum of L1, d_model].

    The reference has zeros before a clip's first frame, in the input of both convolutions. Here a
    neighbour's last frame lies there, which nothing else needs: it is set to zero both times. The
    output of the second convolution around it is the last position of each window, and is dropped.
    """
    weight = tower.conv1.weight
    mel = torch.cat(list(windows), dim=1).to(weight.device, weight.dtype)
    ends = torch.tensor([window.shape[1] for window in windows]).cumsum(0)
    inside = torch.ones(mel.shape[1], dtype=torch.bool)
    inside[ends - 1] = False
    separated = inside.to(weight.device, weight.dtype)
    hidden = functional.gelu(tower.conv1((mel * separated)[None])) * separated
    hidden = functional.gelu(tower.conv2(hidden))[0].T
    kept = inside[1::2].nonzero()[:, 0]
    return hidden.index_select(0, kept.to(weight.device))


def _check_features(features: Sequence[Tensor], num_mel_bins: int) -> None:
    for index, clip in enumerate(features):
        bins, frames = clip.shape
        if bins != num_mel_bins:
            raise ValueError(
                f"clip {index} of the batch has {bins} mel bins; this encoder takes "
                f"{num_mel_bins}. Make its features with model.config.audio_config.num_mel_bins."
            )
        last = frames % WINDOW_FRAMES or min(frames, WINDOW_FRAMES)
        if last % 2 or last < _SHORTEST_WINDOW:
            raise ValueError(
                f"clip {index} of the batch has {frames} mel frames, {last} of them in its last "
                f"window; that must be even and from {_SHORTEST_WINDOW} (one token) to "
                f"{WINDOW_FRAMES} (30 s). Make them with log_mel_spectrogram."
            )
