"""Which strategy a run gets."""

from infra.compute import Worker
from tasks.optimization import ObjectiveModule, OptimizerRecipe
from tasks.strategies.replicated import DataParallel, SingleProcess
from tasks.strategies.strategy import Strategy, restore_parameters
from tasks.training_state import Trained


def open_strategy(
    objective: ObjectiveModule, recipe: OptimizerRecipe, worker: Worker, saved: Trained | None
) -> Strategy:
    """Place a model on the workers of its group; every worker calls it.

    Args:
        objective: with the whole model, the same on every worker, on the CPU.
        saved: where to continue, from any strategy and number of workers; None for the beginning.
    """
    if saved is not None:
        restore_parameters(objective.model, saved["parameters"])
    kind = SingleProcess if worker.world_size == 1 else DataParallel
    return kind(objective, recipe, worker, saved)
