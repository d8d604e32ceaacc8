"""Augments log-mel features for training: time stretch, mel shift, noise and masks."""

import math
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from data_contracts.recipe import Recipe
from model.audio import (
    MAX_MEL_FRAMES,
    MAX_POSITIONS,
    WINDOW_FRAMES,
    num_audio_tokens,
    num_mel_frames,
    num_positions,
    window_lengths,
)

_PADDING_FRAMES = 2
"""Last frames of a window, which lie in the padding after the signal (see `audio`)."""
_MIN_POSITIONS = 2
"""Fewest positions that give an audio token."""

Count = Annotated[int, Field(ge=0)]


class AugmentRecipe(Recipe):
    """How strongly features are augmented. Every draw is uniform between its bounds."""

    time_stretch: tuple[float, float] = (0.85, 1.18)
    """Bounds of the factor on the duration; (1, 1) leaves it unchanged. 30 s stays the limit, so a
    recording of several windows keeps its tempo: a full window can't grow, and stretching only the
    last one would change the tempo within the recording."""
    mel_shift: Count = 3
    """Largest shift up or down, in mel channels: a higher or lower voice."""
    noise_std: Annotated[float, Field(ge=0)] = 0.02
    """Largest standard deviation of the added noise; 1 in a log-mel is 40 dB."""
    num_time_masks: Count = 1
    """Number of stretches of time that are masked in each clip."""
    time_mask_frames: Count = 12
    """Longest time mask, in frames of 10 ms."""
    num_mel_masks: Count = 1
    """Number of frequency bands that are masked in each clip."""
    mel_mask_bins: Count = 8
    """Widest frequency mask, in mel channels."""

    @model_validator(mode="after")
    def _check_stretch(self) -> "AugmentRecipe":
        low, high = self.time_stretch
        if not 0 < low <= high:
            raise ValueError(
                f"time_stretch is {self.time_stretch}; it must be (low, high) with 0 < low <= high"
            )
        return self


def augment_features(features: Tensor, generator: torch.Generator, recipe: AugmentRecipe) -> Tensor:
    """Return an augmented copy of one clip's features; the same generator state, the same copy.

    Args:
        features: [num_mel_bins, 2 * L1 + 2] per window, from `features.log_mel_spectrogram`.
        generator: a CPU generator, the only source of randomness.
        recipe: the bounds.

    Returns:
        [num_mel_bins, 2 * L1' + 2] per window: the clip may have become longer or shorter, so its
        tokens must be counted again (`audio.num_tokens_of_features`).

    Source: SpecAugment (Park et al. 2019) for the masks.
    """
    windows = features.split(WINDOW_FRAMES, dim=1)
    signal = torch.cat([window[:, :-_PADDING_FRAMES] for window in windows], dim=1)
    paddings = [window[:, -_PADDING_FRAMES:] for window in windows]
    floor = float(signal.min())
    factor = _uniform(generator, *recipe.time_stretch)
    if len(windows) == 1:
        signal, paddings[0] = _stretch(signal, paddings[0], floor, factor)
    if shift := _integer(generator, -recipe.mel_shift, recipe.mel_shift):
        signal = signal.roll(shift, dims=0)
        signal[_bins_entered(shift)] = floor
    noise_std = _uniform(generator, 0.0, recipe.noise_std)
    signal += noise_std * torch.randn(signal.shape, generator=generator)
    for axis, masks, widest in (
        (1, recipe.num_time_masks, recipe.time_mask_frames),
        (0, recipe.num_mel_masks, recipe.mel_mask_bins),
    ):
        for _ in range(masks):
            width = _integer(generator, 0, min(widest, signal.shape[axis]))
            start = _integer(generator, 0, signal.shape[axis] - width)
            signal.narrow(axis, start, width).fill_(floor)
    pairs = zip(signal.split(MAX_MEL_FRAMES, dim=1), paddings, strict=True)
    return torch.cat([part for pair in pairs for part in pair], dim=1)


def most_audio_tokens(num_samples: int, recipe: AugmentRecipe) -> int:
    """Largest number of tokens that a clip of `num_samples` can take after a time stretch."""
    windows = window_lengths(num_samples)
    if len(windows) != 1:
        return num_audio_tokens(num_samples)
    return _stretched(num_positions(num_mel_frames(windows[0])), recipe.time_stretch[1]) // 2


def _stretched(positions: int, factor: float) -> int:
    return min(max(round(positions * factor), _MIN_POSITIONS), MAX_POSITIONS)


def _stretch(signal: Tensor, padding: Tensor, floor: float, factor: float) -> tuple[Tensor, Tensor]:
    """Stretch a signal linearly in time to an even number of frames; return it and its padding."""
    old = signal.shape[1] // 2
    new = _stretched(old, factor)
    if new == old:
        return signal, padding
    stretched = functional.interpolate(signal[None], size=2 * new, mode="linear")[0]
    if new == MAX_POSITIONS:
        padding = torch.zeros_like(padding)  # past 30 s the convolution pads with zeros
    elif old == MAX_POSITIONS:
        padding = torch.full_like(padding, floor)
    return stretched, padding


def _bins_entered(shift: int) -> slice:
    """Channels that `roll` filled from the other end."""
    return slice(0, shift) if shift > 0 else slice(shift, None)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _integer(generator: torch.Generator, low: int, high: int) -> int:
    """Draw an integer in [low, high]."""
    return low + math.floor(_uniform(generator, 0.0, 1.0) * (high - low + 1))
