"""Log-mel spectrograms as transformers' WhisperFeatureExtractor makes them, without its 30 s pad.

The reference pads every clip to 30 s with zeros and transforms mostly silence. Here all clips of a
batch lie in one buffer, each followed by only as many zeros as the encoder reads, and are
transformed in blocks. A mel filter is a triangle that ends after a few frequencies, so the product
with the filters is computed band by band, without most of its zeros.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from model.audio import (
    HOP_LENGTH,
    MAX_MEL_FRAMES,
    MAX_SAMPLES,
    MIN_SAMPLES,
    N_FFT,
    SAMPLE_RATE,
    AudioError,
    num_feature_frames,
    window_lengths,
)

_MEL_BINS = (80, 128)
"""Mel bins of Whisper up to large-v2, and of large-v3 and Qwen2-Audio."""
_REFLECT = N_FFT // 2
"""Samples mirrored at both ends of the 30 s, so that window t is centred on sample 160 t."""
_GUARD_HOPS = 2
"""Hops between clips in the buffer: the last window of a clip ends inside them."""
_BLOCK = 1536
"""Windows that a CPU transforms at once: their spectrum stays in the cache."""
_BAND = 8
"""Mel channels that a CPU multiplies at once; a GPU has no use for bands."""
_FLOOR = 1e-10
"""Least mel power; it is clamped before the logarithm (Whisper)."""


def log_mel_spectrogram(waveforms: Sequence[Tensor], num_mel_bins: int) -> list[Tensor]:
    """Compute frames [0, 2 * L1 + 2) of the reference's padded log-mel, for every window of a clip.

    Args:
        waveforms: float32 [num_samples] at 16 kHz, mono, finite, full scale 1, all on one device,
            which does the work and keeps the features.
        num_mel_bins: 80 or 128, as the checkpoint's audio configuration says.

    Returns:
        For each clip a contiguous float32 tensor [num_mel_bins, 2 * L1 + 2]; for a clip longer than
        30 s the concatenated tensors of its windows (`audio.num_feature_frames`), each equal to the
        reference's for a clip of its own. Frames past 30 s are zero: there the reference's
        convolution pads its input.

    Raises:
        AudioError: for another number of mel bins, or a clip too short for one audio token.

    Source: Whisper's front end; `WhisperFeatureExtractor._torch_extract_fbank_features`.
    """
    if num_mel_bins not in _MEL_BINS:
        raise AudioError(
            f"num_mel_bins is {num_mel_bins}; Whisper's front end has {_MEL_BINS[0]} or "
            f"{_MEL_BINS[1]}. Take model.config.audio_config.num_mel_bins."
        )
    if not waveforms:
        return []
    lengths = [window_lengths(len(waveform)) for waveform in waveforms]
    if [] in lengths:
        index = lengths.index([])
        raise AudioError(
            f"clip {index} of the batch has {len(waveforms[index])} samples; fewer than "
            f"{MIN_SAMPLES} give no audio token. Leave it out."
        )
    windows = [
        window
        for waveform, counts in zip(waveforms, lengths, strict=True)
        for window in waveform[: sum(counts)].split(counts)
    ]
    features = iter(_log_mel_of_windows(windows, num_mel_bins))
    clips = [[next(features) for _ in counts] for counts in lengths]
    return [clip[0] if len(clip) == 1 else torch.cat(clip, dim=1) for clip in clips]


def _log_mel_of_windows(windows: Sequence[Tensor], num_mel_bins: int) -> list[Tensor]:
    """Compute features of waveforms of at most 30 s, [num_mel_bins, 2 * L1 + 2] each."""
    num_frames = [num_feature_frames(len(window)) for window in windows]
    buffer = _lay_out(windows, num_frames)
    frames = buffer.unfold(0, N_FFT, HOP_LENGTH)
    device = frames.device
    on_cpu = device.type == "cpu"
    block_size = _BLOCK if on_cpu else len(frames)
    bands = _mel_bands(num_mel_bins, _BAND if on_cpu else num_mel_bins, device)
    hann = torch.hann_window(N_FFT, device=device)
    log_mel = torch.empty(num_mel_bins, len(frames), device=device)
    for block, mel in zip(frames.split(block_size), log_mel.split(block_size, dim=1), strict=True):
        squares = torch.view_as_real(torch.fft.rfft(block * hann)).flatten(1).square_()
        for band in bands:
            torch.mm(band.filters, squares[:, band.bins].T, out=mel[band.channels])
    log_mel.clamp_(min=_FLOOR).log10_()

    features = []
    start = 0
    for count in num_frames:
        signal = log_mel[:, start : start + min(count, MAX_MEL_FRAMES)]
        # The dynamic range is cut 80 dB below the loudest frame. All frames that touch the signal
        # are among these, so their maximum is the one over the padded 30 s.
        scaled = signal.clamp(min=signal.amax() - 8.0).add_(4.0).mul_(0.25)
        missing = count - scaled.shape[1]
        features.append(functional.pad(scaled, (0, missing)) if missing else scaled)
        start += count + _GUARD_HOPS
    return features


class _Band(NamedTuple):
    """Neighbouring mel channels and the part of a spectrum that their filters cover."""

    channels: slice
    bins: slice
    """Range of the squares of real and imaginary parts, which alternate."""
    filters: Tensor
    """[channels, bins]: weights of each filter, for the real and for the imaginary part."""


@cache
def _mel_bands(num_mel_bins: int, width: int, device: torch.device) -> tuple[_Band, ...]:
    """Make Slaney mel filters from 0 to 8 kHz, in bands of `width` channels."""
    bank = mel_filter_bank(
        num_frequency_bins=N_FFT // 2 + 1,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    filters = torch.from_numpy(bank).float().T
    bands = []
    for first in range(0, num_mel_bins, width):
        channels = slice(first, min(first + width, num_mel_bins))
        covered = filters[channels].any(dim=0).nonzero()
        low, high = int(covered.min()), int(covered.max()) + 1
        weights = filters[channels, low:high].repeat_interleave(2, dim=1).to(device)
        bands.append(_Band(channels, slice(2 * low, 2 * high), weights))
    return tuple(bands)


def _lay_out(waveforms: Sequence[Tensor], num_frames: Sequence[int]) -> Tensor:
    """Lay clips out in a buffer whose window `start + t` is window `t` of the clip at `start`."""
    pieces = []
    for waveform, count in zip(waveforms, num_frames, strict=True):
        num_zeros = (count + _GUARD_HOPS) * HOP_LENGTH - _REFLECT - len(waveform)
        after = torch.zeros(num_zeros, device=waveform.device)
        edge = MAX_SAMPLES - len(waveform)
        if edge < _REFLECT:
            # Only here does the reference's right mirror meet signal: elsewhere it mirrors zeros.
            padded = torch.cat([waveform, after[:edge]])
            after[edge : edge + _REFLECT] = padded[-1 - _REFLECT : -1].flip(0)
        pieces += [waveform[1 : _REFLECT + 1].flip(0), waveform, after]
    return torch.cat(pieces)
