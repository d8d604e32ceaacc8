"""Watch over loss and gradient: what counts as a problem, and what becomes of its step.

Losses and norms are the same on all workers, and so is everything that this file decides.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

import numpy as np
from pydantic import Field

from data_contracts.recipe import Recipe
from infra.retry import FinalError

_REMEMBERED = 128
_FEWEST = 32
_NORMAL_PER_MAD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
_SMALLEST_SCALE = 0.05
"""Least deviation, as a share of the median: where a loss hardly moves, noise is no spike."""

LOSS, NORM = "loss", "gradient_norm"
_PROBLEMS, _EXCLUDED_STEPS, _EXCLUDED = "problems", "excluded_steps", "excluded_examples"


class WatchRecipe(Recipe):
    """What happens at a step whose loss or gradient norm is not finite, or a spike.

    It is part of the recipe, because skipped steps change the weights.
    """

    policy: Literal["stop", "skip", "roll_back"] = "stop"
    """Stop the run; skip: the step changes no weight, on any worker; roll_back: continue from the
    last saved state, without the step's bad examples, or without the step where none of its
    examples is bad by itself."""
    spike: float | None = Field(None, gt=0)
    """Standard deviations above the running median, above 0, that make a spike; null: never."""
    at_most: int = Field(10, ge=0)
    """Problems of a run, at least 0, that are let pass; the next one stops it."""


class DivergedError(FinalError, FloatingPointError):
    """Loss or gradient are not finite, or a spike, and the policy or its bound asks for a stop."""


class RollBackError(Exception):
    """Not an error: training goes back to the last saved state and keeps what the watch knows."""

    def __init__(self, watch: "Watch") -> None:
        super().__init__("training goes back to its last state")
        self.watch = watch


class Watch:
    """Judges each step by those before it; what it remembers is part of the training state."""

    def __init__(
        self,
        recipe: WatchRecipe,
        memory: dict[str, list[float]],
        before: "Watch | None" = None,
    ) -> None:
        """`before` is the watch of a roll-back: its problems and exclusions stay known."""
        self.recipe = recipe
        self.memory = memory
        if before is not None:
            for name in (_PROBLEMS, _EXCLUDED_STEPS, _EXCLUDED):
                if name in before.memory:
                    self.memory[name] = before.memory[name]

    def problem(self, name: str, value: float) -> str | None:
        """Return what is wrong with a step's loss or gradient norm, or None.

        A spike lies more than `spike` standard deviations above the median of the last 128 good
        steps, once there are 32. The deviation is 1.4826 median absolute deviations: the spikes
        themselves, or a slope, hardly move either.
        """
        if not math.isfinite(value):
            return f"the {name} is {value}"
        before = self.memory.get(name, [])
        if self.recipe.spike is None or len(before) < _FEWEST:
            return None
        middle = median(before)
        scale = _NORMAL_PER_MAD * median(abs(other - middle) for other in before)
        limit = middle + self.recipe.spike * max(scale, _SMALLEST_SCALE * abs(middle))
        if value <= limit:
            return None
        return f"the {name} is {value:.4g}, a spike above {limit:.4g} (median {middle:.4g})"

    @property
    def last_norm(self) -> float:
        """Return the gradient norm of the last good step; 0 before the first."""
        return self.memory.get(NORM, [0.0])[-1]

    def remember(self, loss: float, norm: float) -> None:
        """Remember a good step."""
        for name, value in ((LOSS, loss), (NORM, norm)):
            self.memory[name] = [*self.memory.get(name, []), value][-_REMEMBERED:]

    def admitted(self, plan: np.ndarray) -> np.ndarray:
        """Return the plan with -1 in place of what earlier roll-backs have excluded.

        Args:
            plan: int64 [steps, examples_per_step]: which examples each step takes.
        """
        left = np.where(np.isin(plan, self.memory.get(_EXCLUDED, [])), -1, plan)
        left[[int(step) for step in self.memory.get(_EXCLUDED_STEPS, [])]] = -1
        return left

    def react(self, step: int, problem: str, culprits: Sequence[int]) -> None:
        """Carry out the policy; returning means that the step is skipped.

        Args:
            culprits: examples of the step that are bad by themselves, of all workers.

        Raises:
            DivergedError: the run stops.
            RollBackError: it goes back; the step or its culprits are excluded from now on.
        """
        problems = [*self.memory.get(_PROBLEMS, []), float(step)]
        if self.recipe.policy == "stop" or len(problems) > self.recipe.at_most:
            raise DivergedError(
                f"step {step}: {problem}. It is problem {len(problems)} of this run; watch.policy "
                f"is {self.recipe.policy!r}, watch.at_most {self.recipe.at_most}. The log names "
                "the step's examples: look at their clips, or lower the learning rate, or let "
                "watch.policy skip or roll_back."
            )
        self.memory[_PROBLEMS] = problems
        if self.recipe.policy == "skip":
            return
        if culprits:
            self.memory[_EXCLUDED] = [*self.memory.get(_EXCLUDED, []), *map(float, culprits)]
        else:
            self.memory[_EXCLUDED_STEPS] = [*self.memory.get(_EXCLUDED_STEPS, []), float(step)]
        raise RollBackError(self)
