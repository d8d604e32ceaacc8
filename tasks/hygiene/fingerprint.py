"""Audio fingerprints of 23 bits every 20 ms, robust to level, codec and resampling.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): each bit is
the sign of a difference along frequency of a difference along time of band energies. Here the
energies are those of the model's own log-mel front end, smoothed over 250 ms so that a shift by
part of a frame hardly matters, and compared as logarithms over 120 ms, so that neither the level
nor a fixed filter changes a sign. The bands span 0.2 to 3.8 kHz, which the telephone and the
lowest bit rates keep.

A fingerprint takes 200 bytes a second.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.audio import HOP_LENGTH, SAMPLE_RATE, WINDOW_FRAMES, num_mel_frames, window_lengths
from model.features import log_mel_spectrogram

NUM_BITS = 23
"""Bits of a sub-fingerprint: one fewer than bands."""
HOP_SAMPLES = 2 * HOP_LENGTH
"""A sub-fingerprint begins every 20 ms."""
BYTES_PER_SECOND = 4 * SAMPLE_RATE // HOP_SAMPLES

_NUM_MEL_BINS = 80
_EDGES = np.linspace(5, 61, NUM_BITS + 2).round().astype(int)
"""Bands begin and end at these mel channels: two or three channels each."""
_SMOOTHING = torch.hann_window(27, periodic=False)[1:-1]
"""Weights of the 25 mel frames (10 ms each) that a sub-fingerprint averages."""
_LAG = 6
"""Mel frames before and after whose energies are compared."""
_FLOOR = 1e-4
"""Share of the loudest frame's mean band energy below which a band counts as silent (-40 dB)."""


def mel_powers(waveforms: Sequence[NDArray[np.float32]]) -> list[Tensor]:
    """Mel power [80, frames of 10 ms] of clips at 16 kHz, floored 80 dB below the loudest frame.

    Raises:
        AudioError: a clip is too short for one audio token.
    """
    features = log_mel_spectrogram([torch.from_numpy(w) for w in waveforms], _NUM_MEL_BINS)
    return [
        torch.pow(10.0, 4 * _signal_frames(feature, len(waveform)) - 4)
        for feature, waveform in zip(features, waveforms, strict=True)
    ]


def fingerprint(power: Tensor) -> NDArray[np.uint32]:
    """Compute the fingerprint, uint32 [hops], of mel power [80, frames]."""
    bands = torch.stack([power[low:high].sum(0) for low, high in pairwise(_EDGES)])
    reach = len(_SMOOTHING) // 2 + _LAG
    smooth = functional.conv1d(
        functional.pad(bands, (reach, reach))[:, None], _SMOOTHING[None, None]
    )[:, 0]
    floor = smooth.sum(0).amax() * _FLOOR / len(bands)
    level = smooth.clamp(min=floor).log10_()
    rise = level[:, 2 * _LAG :: 2] - level[:, : -2 * _LAG : 2]
    bits = (rise[:-1] > rise[1:]).T.numpy().astype(np.uint32)
    words: NDArray[np.uint32] = (bits << np.arange(NUM_BITS, dtype=np.uint32)).sum(
        1, dtype=np.uint32
    )
    return words


def _signal_frames(feature: Tensor, num_samples: int) -> Tensor:
    """Frames of the signal, without those that the encoder's padding adds to each window."""
    windows = feature.split(WINDOW_FRAMES, dim=1)
    counts = [num_mel_frames(n) for n in window_lengths(num_samples)]
    return torch.cat([w[:, :n] for w, n in zip(windows, counts, strict=True)], dim=1)
