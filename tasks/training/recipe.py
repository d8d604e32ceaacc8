"""Holds `OptimizerRecipe`: steps, learning rates, precision and everything else of a training."""

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
    """Optimizer steps."""
    examples_per_step: int = Field(ge=1)
    """Examples in a step, over all workers."""
    learning_rate: float = Field(gt=0)
    """Highest learning rate."""
    warmup_steps: int = Field(ge=0)
    """Steps until the highest learning rate."""
    schedule: Schedule = LinearSchedule()
    optimizer: OptimizerName = "adamw"
    """`adamw_8bit`: bitsandbytes', with moments in 8 bits; on GPUs, `ddp`."""
    weight_decay: float = Field(0.02, ge=0)
    """Decoupled weight decay of matrices."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    rate_factors: dict[Part | Literal["adapters"], Annotated[float, Field(gt=0)]] = Field(
        default={}
    )
    """Part of the model, or `adapters` for the low-rank ones of all parts -> factor on its learning
    rate, 1 if not named."""
    precision: Precision = "float32"
    """Of the matrix products; weights and optimizer stay in float32."""
    watch: WatchRecipe = WatchRecipe()
    seed: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix products."""
        return torch_dtype(self.precision)

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * self.schedule.share(left)


def torch_dtype(precision: Precision) -> torch.dtype:
    """The type of a precision's matrix products."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
