"""Schedules of the learning rate after its warm-up, as a share of the highest rate."""

import math
from typing import Annotated, Literal

from pydantic import Field

from data_contracts.recipe import Recipe


class LinearSchedule(Recipe):
    """Falls straight to zero."""

    kind: Literal["linear"] = "linear"
    """Names this schedule."""

    def share(self, left: float) -> float:
        """Return the share of the highest rate.

        Args:
            left: the share of the steps after warm-up that are left, from 1 to 0.
        """
        return left


class CosineSchedule(Recipe):
    """Falls by half a period of a cosine (Loshchilov and Hutter 2017, eq. 5, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    """Names this schedule."""
    final_share: float = Field(0.0, ge=0, le=1)
    """Share of the highest rate at the end, 0 to 1."""

    def share(self, left: float) -> float:
        """Return the share of the highest rate, like `LinearSchedule.share`."""
        return self.final_share + (1 - self.final_share) * (1 - math.cos(math.pi * left)) / 2


class WarmupStableDecay(Recipe):
    """Keeps the highest rate until the last part of the steps, then falls straight to zero (WSD).

    Source: Hu et al. 2024 (arXiv 2404.06395), section 4; with the linear decay of Haegele et al.
    2024 (arXiv 2405.18392).
    """

    kind: Literal["wsd"] = "wsd"
    """Names this schedule."""
    decay_share: float = Field(0.2, gt=0, le=1)
    """Share of the steps after warm-up in which the rate falls, above 0, at most 1."""

    def share(self, left: float) -> float:
        """Return the share of the highest rate, like `LinearSchedule.share`."""
        return min(1.0, left / self.decay_share)


Schedule = Annotated[
    LinearSchedule | CosineSchedule | WarmupStableDecay, Field(discriminator="kind")
]
