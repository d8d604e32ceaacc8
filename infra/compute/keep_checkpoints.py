"""Retention of training states: which of them survive. It changes no number and no fingerprint."""

from typing import Literal

from pydantic import Field

from data_contracts.recipe import Recipe


class KeepCheckpoints(Recipe):
    """Which training states stay in the store; the others are deleted.

    The newest state is always kept. Keep at least two: a damaged one is skipped for the one before.
    """

    last: int = Field(2, ge=1)
    """Number of the newest states that are kept, at least 1."""
    best: int = Field(0, ge=0)
    """Number of states with the best `metric` at the time of saving that are kept; 0: none."""
    metric: str = "loss"
    """Logged metric that ranks states: `loss` or `gradient_norm` of training, or
    `held_out_loss`."""
    better: Literal["lower", "higher"] = "lower"
    """Which values of `metric` are better."""
    every_steps: int | None = Field(None, ge=1)
    """States whose step is a multiple of this are kept; null: no such rule."""
    every_hours: float | None = Field(None, gt=0)
    """The first state of each period of so many hours is kept; null: no such rule."""
