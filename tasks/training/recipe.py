"""Holds `OptimizerRecipe`: steps, learning rates, precision and what else a training needs."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from data_contracts.recipe import Recipe
from data_contracts.training_choices import OptimizerName, Precision
from model.parts import Part
from tasks.training.guards.divergence import WatchRecipe
from tasks.training.schedule import LinearSchedule, Schedule


class OptimizerRecipe(Recipe):
    """AdamW with a linear warm-up of the learning rate and a schedule for its way down."""

    steps: int = Field(ge=1)
    """Optimizer steps, at least 1."""
    examples_per_step: int = Field(ge=1)
    """Examples in a step, over all workers, at least 1."""
    learning_rate: float = Field(gt=0)
    """Highest learning rate, above 0."""
    warmup_steps: int = Field(ge=0)
    """Steps until the highest learning rate; 0: it is the first."""
    schedule: Schedule = LinearSchedule()
    """How the rate falls after the warm-up."""
    optimizer: OptimizerName = "adamw"
    """AdamW; `adamw_8bit` is that of bitsandbytes, with moments in 8 bits, on GPUs under `ddp`."""
    weight_decay: float = Field(0.02, ge=0)
    """Decoupled weight decay of matrices, at least 0, times the learning rate."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the gradient, above 0; a longer one is scaled down to it."""
    rate_factors: dict[Part | Literal["adapters"], Annotated[float, Field(gt=0)]] = Field(
        default={}
    )
    """Part of the model, or `adapters` for the low-rank ones of all parts -> factor on its learning
    rate, above 0; 1 if not named."""
    precision: Precision = "float32"
    """Type of the matrix products; weights and optimizer stay in float32."""
    watch: WatchRecipe = WatchRecipe()
    """What happens at a step that diverges."""
    seed: int = 0
    """Seed of everything random: the data plan, prompts, augmentation, adapters."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the matrix products."""
        return torch_dtype(self.precision)

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * self.schedule.share(left)


def torch_dtype(precision: Precision) -> torch.dtype:
    """Return the type of a precision's matrix products."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
