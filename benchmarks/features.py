"""Row 1: log-mel features."""

from collections.abc import Iterator

import torch
from transformers import WhisperFeatureExtractor

from benchmarks.harness import Condition, Row, race
from benchmarks.workload import clips
from model.audio import SAMPLE_RATE, num_mel_frames
from model.features import log_mel_spectrogram

_CLIPS = 32


def log_mel() -> Iterator[Row]:
    """A batch of clips, for both numbers of mel channels that are published."""
    waveforms = clips(_CLIPS)
    arrays = [waveform.numpy() for waveform in waveforms]
    for bins in (80, 128):
        extractor = WhisperFeatureExtractor(feature_size=bins)

        def ours(bins: int = bins) -> list[torch.Tensor]:
            return log_mel_spectrogram(waveforms, bins)

        def reference(extractor: WhisperFeatureExtractor = extractor) -> torch.Tensor:
            features: torch.Tensor = extractor(
                arrays, sampling_rate=SAMPLE_RATE, return_tensors="pt"
            ).input_features
            return features

        error = max(
            float((mine[:, :valid] - theirs[:, :valid]).abs().max())
            for mine, theirs, valid in zip(
                ours(), reference(), [num_mel_frames(len(w)) for w in waveforms], strict=True
            )
        )
        yield Row(
            name=f"log-mel, {bins} channels",
            work=f"{_CLIPS} clips",
            race=race(ours, reference),
            goal=12.0,
            stretch=20.0,
            conditions=(Condition("valid frames", error, "<=", 1e-6),),
        )
