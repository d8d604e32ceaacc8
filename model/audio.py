"""Audio as the network takes it: its rate, its window, and the number of frames and tokens.

Every count follows from the Whisper front end that Qwen2-Audio inherits: 16 kHz mono, a spectrum of
25 ms every 10 ms, a stride-2 convolution, then pairs of positions averaged into one audio token
(40 ms each). The encoder has positions for 30 s. A longer recording is encoded in windows of 30 s,
each like a clip of its own, and their tokens follow one another.
"""

from data_contracts.audio_limits import HOP_LENGTH as HOP_LENGTH
from data_contracts.audio_limits import MIN_SAMPLES as MIN_SAMPLES
from data_contracts.audio_limits import SAMPLE_RATE as SAMPLE_RATE

N_FFT = 400
"""Samples in one spectrum: 25 ms."""
MAX_SECONDS = 30
"""Length of a window: the most that the encoder takes at once."""
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
MAX_MEL_FRAMES = MAX_SAMPLES // HOP_LENGTH
"""3000: what the reference pads every clip to."""
MAX_POSITIONS = MAX_MEL_FRAMES // 2
"""1500: positions of the encoder after its stride-2 convolution."""
WINDOW_FRAMES = 2 * MAX_POSITIONS + 2
"""3002: feature frames of a full window (`num_feature_frames`)."""


class AudioError(ValueError):
    """The network can't take this audio: too short, or a front end that it does not have."""


def num_mel_frames(num_samples: int) -> int:
    """Number of mel frames with signal: one per started hop, `L` in this package's comments."""
    return -(-num_samples // HOP_LENGTH)


def num_positions(num_mel_frames: int) -> int:
    """Number of encoder positions that attend, after the stride-2 convolution: `L1`."""
    return (num_mel_frames - 1) // 2 + 1


def window_lengths(num_samples: int) -> list[int]:
    """Split a recording into windows of 30 s and a shorter last one; return their samples.

    A remainder below `MIN_SAMPLES` gives no token, so it makes no window and is left out.
    """
    full, remainder = divmod(num_samples, MAX_SAMPLES)
    return [MAX_SAMPLES] * full + [remainder] * (remainder >= MIN_SAMPLES)


def num_audio_tokens(num_samples: int) -> int:
    """Number of tokens that `num_samples` (16 kHz) take in the language model's sequence."""
    return sum(num_positions(num_mel_frames(n)) // 2 for n in window_lengths(num_samples))


def num_feature_frames(num_samples: int) -> int:
    """Number of frames that `features.log_mel_spectrogram` returns: `2 * L1 + 2` per window.

    The second convolution at the last position sees mel frames up to `2 * L1`, so two frames of
    the padding belong to the input; the even length keeps packed clips on the stride's grid. Every
    window but the last has `WINDOW_FRAMES`, so the windows can be told apart again.
    """
    return sum(2 * num_positions(num_mel_frames(n)) + 2 for n in window_lengths(num_samples))


def num_tokens_of_features(num_frames: int) -> int:
    """Number of audio tokens that the encoder makes of a feature tensor with `num_frames`."""
    full, remainder = divmod(num_frames, WINDOW_FRAMES)
    return full * (MAX_POSITIONS // 2) + max(remainder // 2 - 1, 0) // 2
