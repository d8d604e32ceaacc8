"""Opens a strategy by its name."""

from collections.abc import Callable
from functools import partial

from data_contracts.training_choices import StrategyName
from infra.compute.interface import Worker
from tasks.training.objective import ObjectiveModule
from tasks.training.optimizer import OptimizerUnavailableError
from tasks.training.recipe import OptimizerRecipe
from tasks.training.state import Trained
from tasks.training.strategies.fsdp2 import FullySharded
from tasks.training.strategies.replicated import DataParallel, SingleProcess
from tasks.training.strategies.strategy import Strategy, restore_parameters
from tasks.training.strategies.zero import Zero

_OFFLOADED = {
    "stage": 3,
    "offload_optimizer": {"device": "cpu"},
    "offload_param": {"device": "cpu"},
}
_STRATEGIES: dict[StrategyName, Callable[..., Strategy]] = {
    "ddp": DataParallel,
    "fsdp2": FullySharded,
    "zero1": partial(Zero, zero_optimization={"stage": 1}),
    "zero2": partial(Zero, zero_optimization={"stage": 2}),
    "zero3": partial(Zero, zero_optimization={"stage": 3}),
    "zero3_offload": partial(Zero, zero_optimization=_OFFLOADED),
}


def open_strategy(
    name: StrategyName,
    objective: ObjectiveModule,
    recipe: OptimizerRecipe,
    worker: Worker,
    saved: Trained | None,
) -> Strategy:
    """Place a model on the workers of its group; every worker calls it.

    Args:
        name: with one worker there is nothing to divide, and it plays no part.
        objective: with the whole model, the same on every worker, on the CPU.
        saved: tensors to continue with, from any strategy and number of workers; None for the
            beginning. Nothing of it is kept.

    Raises:
        OptimizerUnavailableError: the recipe's optimizer can't run here, or not in shares.
    """
    if recipe.optimizer == "adamw_8bit" and worker.world_size > 1 and name != "ddp":
        raise OptimizerUnavailableError(
            f"adamw_8bit keeps blocks of moments that {name} would cut. Set resources.strategy to "
            "ddp, or optimizer to adamw."
        )
    if saved is not None:
        restore_parameters(objective.model, saved["parameters"])
    kind: Callable[..., Strategy] = SingleProcess if worker.world_size == 1 else _STRATEGIES[name]
    return kind(objective, recipe, worker, saved)
