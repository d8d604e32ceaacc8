"""Whether two recordings are one: the normalised cross-correlation of their waveforms.

Two copies of a recording keep their phase through level, codec and resampling; two renditions of
the same words, however alike, do not. So this decides where fingerprints only propose.
"""

import numpy as np
from numpy.typing import NDArray

_SLACK = 800
"""Samples (50 ms) by which the proposed offset may be wrong: codecs delay, and hops are coarse."""
_MIN_SAMPLES = 1600
"""100 ms: of less, chance finds correlation."""


def correlation(first: NDArray[np.float32], second: NDArray[np.float32], offset: int) -> float:
    """Largest absolute normalised cross-correlation, 0 to 1, over what the two have in common.

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
