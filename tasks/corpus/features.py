"""Makes log-mel features of clips of the corpus."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data_contracts.records import Conversation
from model.audio import num_tokens_of_features
from model.features import log_mel_spectrogram


class Waveforms(Protocol):
    """Waveforms by clip id: float32 [num_samples] at 16 kHz."""

    def fetch(self, clip_ids: Sequence[str], /) -> None:
        """Read what is needed next, in few requests."""
        ...

    def __getitem__(self, clip_id: str, /) -> np.ndarray: ...


def clip_features(reader: Waveforms, clips: Sequence[str], num_mel_bins: int) -> dict[str, Tensor]:
    """Make log-mel features of clips: float32 [num_mel_bins, frames] by clip id."""
    if not clips:
        return {}
    reader.fetch(clips)
    waveforms = [torch.from_numpy(np.ascontiguousarray(reader[clip])) for clip in clips]
    return dict(zip(clips, log_mel_spectrogram(waveforms, num_mel_bins), strict=True))


def hear(
    reader: Waveforms,
    conversations: Sequence[Conversation],
    num_mel_bins: int,
    change: Callable[[str, Tensor], Tensor] = lambda _, features: features,
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Make the features of all clips in some conversations, and count their audio tokens.

    Args:
        change: augments the features of a clip, given its id. They may change in length.

    Returns:
        Features, float32 [num_mel_bins, frames], and tokens, both by clip id in its order.
    """
    clips = sorted({clip for conversation in conversations for clip in conversation.clip_ids})
    plain = clip_features(reader, clips, num_mel_bins)
    features = {clip: change(clip, mel) for clip, mel in plain.items()}
    return features, {clip: num_tokens_of_features(f.shape[1]) for clip, f in features.items()}
