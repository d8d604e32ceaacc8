"""Optional limits on how quiet a recording may be; a recording beyond them is rejected.

Hygiene reports odd levels among packed clips; these limits keep such recordings out.
"""

import numpy as np
from pydantic import Field

from data_contracts.recipe import Recipe
from model.audio import HOP_LENGTH
from tasks.recordings.decode import DecodeError

QUIET_POWER = 1e-4
"""Share of the loudest frame's power below which a frame is quiet: -40 dB."""


class LevelRecipe(Recipe):
    """Limits on the levels of packed recordings; without them all but silence is packed."""

    min_dbfs: float | None = Field(None, le=0)
    """Root mean square, in dB full scale, below which a recording is rejected."""
    max_quiet_share: float | None = Field(None, ge=0, le=1)
    """Share of quiet frames (10 ms, over 40 dB below the loudest) above which a recording is
    rejected."""

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
        limit = self.max_quiet_share
        if limit is not None and (share := _quiet_share(waveform)) > limit:
            raise DecodeError(
                "mostly_quiet",
                f"{share:.1%} of {name} is over 40 dB below its loudest 10 ms; "
                f"ingest.levels.max_quiet_share is {limit:g}. Trim it or raise the limit",
            )


def _dbfs(waveform: np.ndarray) -> float:
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    return 10 * float(np.log10(max(power, 1e-20)))


def _quiet_share(waveform: np.ndarray) -> float:
    """Share of quiet whole frames; 0 for a recording shorter than a frame."""
    whole = len(waveform) // HOP_LENGTH * HOP_LENGTH
    if whole == 0:
        return 0.0
    frames = waveform[:whole].astype(np.float64).reshape(-1, HOP_LENGTH)
    power = np.mean(frames**2, axis=1)
    return float(np.mean(power < QUIET_POWER * power.max()))
