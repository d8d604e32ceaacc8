"""How the learning rate falls after its warm-up, as a share of the highest rate."""

import math
from typing import Annotated, Literal

from pydantic import Field

from data_contracts.recipe import Recipe


class LinearSchedule(Recipe):
    """Straight to zero."""

    kind: Literal["linear"] = "linear"

    def share(self, left: float) -> float:
        """Of the highest rate, where `left`, from 1 to 0, of the steps after warm-up are left."""
        return left


class CosineSchedule(Recipe):
    """Half a period of a cosine (Loshchilov and Hutter 2017, eq. 5, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    final_share: float = Field(0.0, ge=0, le=1, description="of the highest rate, at the end")

    def share(self, left: float) -> float:
        """As of `LinearSchedule`."""
        return self.final_share + (1 - self.final_share) * (1 - math.cos(math.pi * left)) / 2


class WarmupStableDecay(Recipe):
    """The highest rate until the last part of the steps, there straight to zero (WSD).

    Source: Hu et al. 2024 (arXiv 2404.06395), section 4; with the linear decay of Haegele et al.
    2024 (arXiv 2405.18392).
    """

    kind: Literal["wsd"] = "wsd"
    decay_share: float = Field(0.2, gt=0, le=1, description="of the steps after warm-up that decay")

    def share(self, left: float) -> float:
        """As of `LinearSchedule`."""
        return min(1.0, left / self.decay_share)


Schedule = Annotated[
    LinearSchedule | CosineSchedule | WarmupStableDecay, Field(discriminator="kind")
]
