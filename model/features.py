"""Log-mel spectrograms as transformers' WhisperFeatureExtractor makes them, without its 30 s pad.

The reference pads every clip to 30 s with zeros and transforms mostly silence. Here all clips of a
batch lie in one buffer, each followed by only as many zeros as the encoder looks at, and one
Fourier transform and one matrix product serve them all.
"""

from collections.abc import Sequence
from functools import cache

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
"""Whisper's up to large-v2, and those of large-v3 and Qwen2-Audio."""
_REFLECT = N_FFT // 2
"""Samples mirrored at both ends of the 30 s, so that window t is centred on sample 160 t."""
_GUARD_HOPS = 2
"""Hops between clips in the buffer: the last window of a clip ends inside them."""
_BLOCK = 256
"""Windows that a CPU transforms at once: their spectrum stays in a core's cache, which is twice as
fast as all at once.
"""
_FLOOR = 1e-10
"""Mel power is clamped here before the logarithm (Whisper)."""


def log_mel_spectrogram(waveforms: Sequence[Tensor], num_mel_bins: int) -> list[Tensor]:
    """Frames [0, 2 * L1 + 2) of the reference's padded log-mel, for every window of every clip.

    Args:
        waveforms: float32 [num_samples] at 16 kHz, as `audio.check_waveform` returns them, all on
            one device: it does the work, and the features stay there.
        num_mel_bins: 80 or 128, as the checkpoint's audio configuration says.

    Returns:
        Per clip a contiguous float32 tensor [num_mel_bins, 2 * L1 + 2]; of a clip longer than 30 s
        the tensors of its windows behind one another (`audio.num_feature_frames`), each made as the
        reference makes that of a clip. Frames past 30 s are zero: there the reference's convolution
        pads its input.

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
    """Features of waveforms of at most 30 s, [num_mel_bins, 2 * L1 + 2] each."""
    num_frames = [num_feature_frames(len(window)) for window in windows]
    buffer = _lay_out(windows, num_frames)
    frames = buffer.unfold(0, N_FFT, HOP_LENGTH)
    device = frames.device
    block_size = _BLOCK if device.type == "cpu" else len(frames)
    hann, filters = torch.hann_window(N_FFT, device=device), _mel_filters(num_mel_bins, device)
    log_mel = torch.empty(num_mel_bins, len(frames), device=device)
    for block, mel in zip(frames.split(block_size), log_mel.split(block_size, dim=1), strict=True):
        spectrum = torch.fft.rfft(block * hann)
        power = spectrum.real.square() + spectrum.imag.square()
        torch.mm(filters, power.T, out=mel)
    log_mel.clamp_(min=_FLOOR).log10_()

    features = []
    start = 0
    for count in num_frames:
        signal = log_mel[:, start : start + min(count, MAX_MEL_FRAMES)]
        # The dynamic range is cut 80 dB below the loudest frame. All frames that touch the signal
        # are among these, so their maximum is the one over the padded 30 s.
        scaled = signal.clamp(min=signal.amax() - 8.0).add_(4.0).div_(4.0)
        features.append(functional.pad(scaled, (0, count - scaled.shape[1])))
        start += count + _GUARD_HOPS
    return features


@cache
def _mel_filters(num_mel_bins: int, device: torch.device) -> Tensor:
    """Slaney mel filters [num_mel_bins, 201] from 0 to 8 kHz."""
    filters = mel_filter_bank(
        num_frequency_bins=N_FFT // 2 + 1,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).float().T.to(device)


def _lay_out(waveforms: Sequence[Tensor], num_frames: Sequence[int]) -> Tensor:
    """One buffer in which window `start + t` of the whole is window `t` of the clip at `start`."""
    total = sum(num_frames) + _GUARD_HOPS * len(num_frames)
    buffer = torch.zeros(total * HOP_LENGTH, device=waveforms[0].device)
    start = 0
    for waveform, count in zip(waveforms, num_frames, strict=True):
        end = start + _REFLECT + len(waveform)
        buffer[start + _REFLECT : end] = waveform
        mirrored = buffer[start + _REFLECT + 1 : start + 2 * _REFLECT + 1].flip(0)
        buffer[start : start + _REFLECT] = mirrored
        if len(waveform) > MAX_SAMPLES - _REFLECT:
            # Only here does the reference's right mirror meet signal: elsewhere it mirrors zeros.
            edge = start + _REFLECT + MAX_SAMPLES
            buffer[edge : edge + _REFLECT] = buffer[edge - 1 - _REFLECT : edge - 1].flip(0)
        start += (count + _GUARD_HOPS) * HOP_LENGTH
    return buffer
