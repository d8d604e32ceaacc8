"""Holds `DataPlan`: which examples each step of a training takes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DataPlan:
    """What a training draws, known before anything is read."""

    plan: NDArray[np.int64]
    """[steps, examples_per_step]: the numbers of the examples that each step takes."""
    pools: NDArray[np.int32]
    """[examples]: the pool of each example. The plan takes all of a pool once an epoch before it
    takes one of them again; -1: it never takes the example."""
    shares: NDArray[np.float64]
    """[examples]: the part of all draws that each example is wanted to have; their sum is 1."""

    @property
    def num_steps(self) -> int:
        """Steps of the training."""
        return len(self.plan)
