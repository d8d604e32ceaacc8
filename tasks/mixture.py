"""Which examples each step takes: planned from the recipe alone, before anything is read."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


class MixtureError(ValueError):
    """A mixture has a weight that is none, or gives no task of the corpus a positive one."""


def plan_mixture(
    pools: Mapping[str, Sequence[int]],
    weights: Mapping[str, float],
    steps: int,
    examples_per_step: int,
    seed: int,
) -> np.ndarray:
    """Draw int64 [steps, examples_per_step] example numbers.

    Each place of a step draws its task with probability proportional to the task's weight; inside
    a task, examples come in a new random order each epoch, so that none is repeated before all
    were seen. Tasks that the corpus lacks are left out, and the other weights keep their ratios.

    Raises:
        MixtureError: a weight is negative or not finite, or no task of positive weight has an
            example.
    """
    refused = {task: w for task, w in weights.items() if w < 0 or not math.isfinite(w)}
    if refused:
        raise MixtureError(
            f"mixture weights {refused} are negative or not finite; use 0 to leave a task out"
        )
    tasks = sorted(task for task in pools if pools[task] and weights.get(task, 0) > 0)
    if not tasks:
        raise MixtureError(
            f"the corpus has examples for {sorted(task for task in pools if pools[task])}, the "
            f"mixture weighs {sorted(weights)}: "
            "nothing is left to train on. Give one of the corpus's tasks a positive weight."
        )
    shares = np.array([weights[task] for task in tasks], dtype=np.float64)
    draw = np.random.default_rng([seed, 0])
    drawn = draw.choice(len(tasks), size=steps * examples_per_step, p=shares / shares.sum())
    plan = np.empty(steps * examples_per_step, dtype=np.int64)
    for number, task in enumerate(tasks):
        places = np.flatnonzero(drawn == number)
        plan[places] = _epochs(np.array(pools[task]), len(places), seed, number)
    return plan.reshape(steps, examples_per_step)


def _epochs(examples: np.ndarray, count: int, seed: int, task: int) -> np.ndarray:
    """`count` examples: one shuffled epoch after the other."""
    epochs = -(-count // len(examples)) if count else 0
    orders = [
        np.random.default_rng([seed, 1, task, epoch]).permutation(examples)
        for epoch in range(epochs)
    ]
    return np.concatenate(orders)[:count] if orders else np.empty(0, dtype=np.int64)
