"""Makes log-mel features of clips of the corpus."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model.features import log_mel_spectrogram


class Waveforms(Protocol):
    """Waveforms by clip id: float32 [num_samples] at 16 kHz."""

    def fetch(self, clip_ids: Sequence[str], /) -> None:
        """Read what is needed next, in few requests."""
        ...

    def __getitem__(self, clip_id: str, /) -> np.ndarray: ...


def clip_features(reader: Waveforms, clips: Sequence[str], num_mel_bins: int) -> dict[str, Tensor]:
    """Log-mel features of clips: float32 [num_mel_bins, frames] by clip id."""
    if not clips:
        return {}
    reader.fetch(clips)
    waveforms = [torch.from_numpy(np.ascontiguousarray(reader[clip])) for clip in clips]
    return dict(zip(clips, log_mel_spectrogram(waveforms, num_mel_bins), strict=True))
