"""Optional limits on how quiet a recording may be; what is beyond them is rejected with its value.

Hygiene reports odd levels of what was packed; these keep it out.
"""

import numpy as np
from pydantic import Field

from data_contracts.recipe import Recipe
from model.audio import HOP_LENGTH
from tasks.recordings.decode import DecodeError

QUIET_POWER = 1e-4
"""Of the loudest frame's power: 40 dB below it."""


class LevelRecipe(Recipe):
    """Levels of the recordings that are packed; empty: any but silence."""

    min_dbfs: float | None = Field(None, le=0)
    """Quieter recordings are rejected: root mean square, dB full scale."""
    max_quiet_share: float | None = Field(None, ge=0, le=1)
    """Recordings of which more is quiet are rejected: share of 10 ms frames over 40 dB below the
    loudest."""

    def refuse(self, waveform: np.ndarray, name: str) -> None:
        """Refuse a recording, float32 [num_samples], that is beyond a limit.

        Raises:
            DecodeError: `too_quiet` or `mostly_quiet`.
        """
        if self.min_dbfs is not None and (level := _dbfs(waveform)) < self.min_dbfs:
            raise DecodeError(
                "too_quiet",
                f"{name} has {level:.1f} dB full scale; "
                f"ingest.levels.min_dbfs is {self.min_dbfs:g}. Record it louder or lower the limit",
            )
        most = self.max_quiet_share
        if most is not None and (share := _quiet_share(waveform)) > most:
            raise DecodeError(
                "mostly_quiet",
                f"{share:.1%} of {name} are over 40 dB below its loudest 10 ms; "
                f"ingest.levels.max_quiet_share is {most:g}. Trim it or raise the limit",
            )


def _dbfs(waveform: np.ndarray) -> float:
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    return 10 * float(np.log10(max(power, 1e-20)))


def _quiet_share(waveform: np.ndarray) -> float:
    """Over whole frames; a recording shorter than one has none that is quiet."""
    whole = len(waveform) // HOP_LENGTH * HOP_LENGTH
    if whole == 0:
        return 0.0
    frames = waveform[:whole].astype(np.float64).reshape(-1, HOP_LENGTH)
    power = np.mean(frames**2, axis=1)
    return float(np.mean(power < QUIET_POWER * power.max()))
