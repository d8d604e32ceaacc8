"""What the network accepts as audio, and how many positions and tokens it makes of it.

Every count follows from the Whisper front end that Qwen2-Audio inherits: 16 kHz mono, a spectrum of
25 ms every 10 ms, a stride-2 convolution, then pairs of positions averaged into one audio token
(40 ms each). The encoder has positions for 30 s. A longer recording is heard in windows of 30 s,
each as if it were a clip of its own, and their tokens follow one another.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_contracts.audio_limits import HOP_LENGTH as HOP_LENGTH
from data_contracts.audio_limits import MIN_SAMPLES as MIN_SAMPLES
from data_contracts.audio_limits import SAMPLE_RATE as SAMPLE_RATE

N_FFT = 400
"""Samples in one spectrum: 25 ms."""
MAX_SECONDS = 30
"""Length of a window: what the encoder hears at once."""
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
MAX_MEL_FRAMES = MAX_SAMPLES // HOP_LENGTH
"""3000: what the reference pads every clip to."""
MAX_POSITIONS = MAX_MEL_FRAMES // 2
"""1500: positions of the encoder after its stride-2 convolution."""
WINDOW_FRAMES = 2 * MAX_POSITIONS + 2
"""3002: feature frames of a full window (`num_feature_frames`)."""


class AudioError(ValueError):
    """A recording can't be heard as it is: wrong rate, type, shape, values or length."""


def num_mel_frames(num_samples: int) -> int:
    """Mel frames that count as signal: one per started hop, `L` in the comments of this package."""
    return -(-num_samples // HOP_LENGTH)


def num_positions(num_mel_frames: int) -> int:
    """Encoder positions that attend, after the stride-2 convolution: `L1`."""
    return (num_mel_frames - 1) // 2 + 1


def window_lengths(num_samples: int) -> list[int]:
    """Samples of each window in which a recording is heard: 30 s, and at the end what is left.

    A rest below `MIN_SAMPLES` gives no token, so it is no window and is not heard.
    """
    full, rest = divmod(num_samples, MAX_SAMPLES)
    return [MAX_SAMPLES] * full + [rest] * (rest >= MIN_SAMPLES)


def num_audio_tokens(num_samples: int) -> int:
    """Tokens that a clip of `num_samples` (at 16 kHz) takes in the language model's sequence."""
    return sum(num_positions(num_mel_frames(n)) // 2 for n in window_lengths(num_samples))


def num_feature_frames(num_samples: int) -> int:
    """Frames of the tensor that `features.log_mel_spectrogram` makes: `2 * L1 + 2` a window.

    The second convolution at the last position sees mel frames up to `2 * L1`, so two frames of
    the padding belong to the input; the even length keeps packed clips on the stride's grid. Every
    window but the last has `WINDOW_FRAMES`, so the windows can be told apart again.
    """
    return sum(2 * num_positions(num_mel_frames(n)) + 2 for n in window_lengths(num_samples))


def num_tokens_of_features(num_frames: int) -> int:
    """Audio tokens that the encoder makes of a feature tensor with `num_frames`."""
    full, rest = divmod(num_frames, WINDOW_FRAMES)
    return full * (MAX_POSITIONS // 2) + max(rest // 2 - 1, 0) // 2


def check_waveform(waveform: NDArray[np.floating] | Tensor, sample_rate: int, name: str) -> Tensor:
    """Return `waveform` as a float32 tensor [num_samples], or refuse it.

    Args:
        waveform: mono samples, float32 or float64, full scale 1.
        sample_rate: in Hz.
        name: the clip's id, for the message.

    Raises:
        AudioError: for another rate than 16 kHz, another type, another shape, no samples, NaN or
            infinity, and for a clip too short to be heard. Any longer one is heard in windows; what
            becomes of long recordings is decided where a corpus is made.
    """
    if sample_rate != SAMPLE_RATE:
        raise AudioError(
            f"clip {name!r} has {sample_rate} Hz; the network hears {SAMPLE_RATE} Hz only. "
            "Resample it before."
        )
    samples = torch.from_numpy(waveform) if isinstance(waveform, np.ndarray) else waveform
    if samples.dtype not in (torch.float32, torch.float64):
        raise AudioError(
            f"clip {name!r} holds {samples.dtype}; samples must be float32 or float64 with full "
            "scale 1. Divide integer samples by their largest value."
        )
    if samples.dim() != 1:
        raise AudioError(
            f"clip {name!r} has the shape {tuple(samples.shape)}; one mono channel [num_samples] "
            "is needed. Mix the channels down before."
        )
    count = len(samples)
    if count == 0:
        raise AudioError(f"clip {name!r} is empty. Remove it or record it again.")
    if not bool(torch.isfinite(samples).all()):
        first = int((~torch.isfinite(samples)).nonzero()[0])
        raise AudioError(
            f"clip {name!r} holds {float(samples[first])} at sample {first}; every sample must be "
            "finite. Decode the file again or remove it."
        )
    if count < MIN_SAMPLES:
        raise AudioError(
            f"clip {name!r} has {count} samples; fewer than {MIN_SAMPLES} "
            f"({1000 * MIN_SAMPLES / SAMPLE_RATE:.1f} ms) give no audio token. Leave it out."
        )
    return samples.float()
