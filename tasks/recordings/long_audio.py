"""Policies for recordings longer than the 30 s that the encoder takes at once.

`reject` leaves them out. `windows` packs them whole: the encoder takes 30 s at a time. `cut` packs
the first 30 s, but rejects a recording with an answer about all of it, such as a transcript: the
label would go on where the audio ends. Whatever is left out is counted in seconds.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_contracts.records import (
    Clip,
    LongAudio,
    LongAudioPolicy,
    PackedClip,
    answers_about_the_whole,
)
from model.audio import MAX_SAMPLES, MAX_SECONDS, SAMPLE_RATE, window_lengths
from tasks.recordings.decode import DecodeError


class Kept(NamedTuple):
    """The part of a recording that is packed."""

    waveform: np.ndarray
    """float32 [num_samples]."""
    cut_seconds: float
    """Seconds that are left out after it."""


@dataclass(frozen=True)
class LengthRule:
    """The long-audio policy of a corpus, with its limit."""

    policy: LongAudioPolicy
    max_window_seconds: float
    """Longest recording that `windows` packs."""
    about_the_whole: Collection[str]
    """Tasks whose answers account for all that is heard."""

    @property
    def max_seconds(self) -> float:
        """Longest clip of the corpus."""
        return self.max_window_seconds if self.policy == "windows" else MAX_SECONDS

    def keep(self, waveform: np.ndarray, seconds: float, clip: Clip) -> Kept:
        """Keep what the policy packs of a recording that lasts `seconds`.

        Args:
            waveform: float32 [num_samples], complete where it is no longer than `max_seconds`.
            clip: its labels decide whether it may be cut.

        Raises:
            DecodeError: `too_long`, or `too_long_to_cut` where a label would become wrong.
        """
        limit = round(self.max_seconds * SAMPLE_RATE)
        if len(waveform) <= limit:
            if len(waveform) <= MAX_SAMPLES:
                return Kept(waveform, 0.0)
            length = sum(window_lengths(len(waveform)))  # without a remainder that is too short
            return Kept(waveform[:length], (len(waveform) - length) / SAMPLE_RATE)
        lasts = f"{clip.id} lasts {seconds:.3f} s"
        if self.policy != "cut":
            raise DecodeError(
                "too_long",
                f"{lasts}; ingest.long_audio = {self.policy} packs at most {self.max_seconds:g} s",
            )
        if answers := answers_about_the_whole(clip, self.about_the_whole):
            raise DecodeError(
                "too_long_to_cut",
                f"{lasts}; its {answers} may be about what follows the first "
                f"{MAX_SECONDS} s. Split it, or set ingest.long_audio = windows",
            )
        return Kept(waveform[:limit], seconds - self.max_seconds)

    def summary(self, packed: Iterable[PackedClip]) -> LongAudio:
        """Summarise what the policy did to a corpus."""
        long_clips, cut_clips, cut_seconds = 0, 0, 0.0
        for clip in packed:
            long_clips += clip.num_samples > MAX_SAMPLES
            cut_clips += clip.cut_seconds > 0
            cut_seconds += clip.cut_seconds
        return LongAudio(
            policy=self.policy,
            max_seconds=self.max_seconds,
            long_clips=long_clips,
            cut_clips=cut_clips,
            cut_seconds=round(cut_seconds, 4),
        )
