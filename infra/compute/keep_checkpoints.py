"""Choices of a profile about what survives a run. They change no number and no fingerprint."""

from typing import Literal

from pydantic import Field

from data_contracts.recipe import Recipe


class KeepCheckpoints(Recipe):
    """Which training states stay in the store; what no rule wants is deleted.

    The last one is always kept. Keep at least two: a damaged state is skipped for the one before.
    """

    last: int = Field(2, ge=1)
    """The newest ones."""
    best: int = Field(0, ge=0)
    """Those with the best `metric` at the time when they were saved."""
    metric: str = "loss"
    """A logged metric: `loss` and `gradient_norm` of training, or `held_out_loss`."""
    better: Literal["lower", "higher"] = "lower"
    every_steps: int | None = Field(None, ge=1)
    """Those whose step is a multiple of this."""
    every_hours: float | None = Field(None, gt=0)
    """The first one of every such period of the clock."""
