"""Measures of waveforms: how clean a recording is, and whether two recordings are the same.

Two copies of a recording keep their phase through level, codec and resampling; two renditions of
the same words, however alike, do not. So waveforms decide where fingerprints only propose.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.recordings.levels import QUIET_POWER

_SLACK = 800
"""Samples (50 ms) by which the proposed offset may be wrong: codecs delay, and hops are coarse."""
_MIN_SAMPLES = 1600
"""100 ms: shorter overlaps correlate by chance."""
_FLAT_TOP = 0.9999
"""Share of the peak from which a sample counts as being at the peak."""


class Background(NamedTuple):
    """How clean a recording is."""

    snr_db: float
    """Signal to noise: the 95th over the 5th percentile of the power of 10 ms frames; an estimate
    for speech with pauses, after NIST's STNR, of at most 80 dB."""
    quiet_share: float
    """Share of frames over 40 dB below the loudest."""
    flat_top_share: float
    """Share of samples in runs of three and more at the peak: clipped before packing."""


def background(waveform: NDArray[np.float32], power: torch.Tensor) -> Background:
    """Measure noise, quiet and clipping of a recording.

    Args:
        waveform: [num_samples] at 16 kHz.
        power: its mel power [80, frames].
    """
    frames = power.sum(0).numpy()
    low, high = np.percentile(frames, [5, 95])
    quiet = float(np.mean(frames < QUIET_POWER * frames.max()))
    top = np.abs(waveform) >= _FLAT_TOP * np.abs(waveform).max()
    middle = top[:-2] & top[1:-1] & top[2:]
    run = np.zeros(len(top), bool)
    for shift in range(3):
        run[shift : len(run) - 2 + shift] |= middle
    return Background(10 * float(np.log10(high / low)), quiet, float(run.mean()))


def correlation(first: NDArray[np.float32], second: NDArray[np.float32], offset: int) -> float:
    """Largest absolute normalised cross-correlation, 0 to 1, over the overlap of two recordings.

    Args:
        first, second: [num_samples] at 16 kHz.
        offset: sample of `first` at which `second` begins, give or take 50 ms; may be negative.
    """
    begin, end = max(0, offset), min(len(first), offset + len(second))
    if end - begin < _MIN_SAMPLES:
        return 0.0
    template = first[begin:end].astype(np.float64)
    around = np.zeros(len(template) + 2 * _SLACK)
    low = begin - offset - _SLACK
    source = second[max(low, 0) : low + len(around)]
    around[max(-low, 0) : max(-low, 0) + len(source)] = source
    size = 1 << (len(around) + len(template) - 1).bit_length()
    spectrum = np.fft.rfft(around, size) * np.fft.rfft(template, size).conj()
    products = np.fft.irfft(spectrum, size)[: 2 * _SLACK + 1]
    energies = np.concatenate([[0.0], np.cumsum(around**2)])
    energy = energies[len(template) :] - energies[: -len(template)]
    scale = np.sqrt(np.maximum(energy * (template @ template), 1e-12))
    return float(min(1.0, np.abs(products / scale).max()))
