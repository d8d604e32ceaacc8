"""Plans which examples each step takes, from the recipe alone, before anything is read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.training.data_plan import DataPlan
from tasks.training.recipe import OptimizerRecipe


class MixtureError(ValueError):
    """A weight is negative or not finite, the sum of weights is not finite, or no task of the
    corpus has a positive one.
    """


@dataclass(frozen=True)
class Group:
    """Examples of a task that are drawn equally often."""

    examples: Sequence[int] | NDArray[np.integer]
    weight: float
    """Share of the task's draws, in proportion to the other groups' weights."""


def plan_mixture(
    pools: Mapping[str, Sequence[int]],
    weights: Mapping[str, float],
    steps: int,
    examples_per_step: int,
    seed: int,
) -> NDArray[np.int64]:
    """Plan by `plan_groups`, where every task is one group."""
    groups = {task: [Group(pool, 1.0)] for task, pool in pools.items()}
    return plan_groups(groups, weights, steps, examples_per_step, seed)


def draw_evenly(num_examples: int, optimizer: OptimizerRecipe) -> DataPlan:
    """Plan a training that takes all examples in turn, whatever they are.

    Args:
        optimizer: its steps, examples a step and seed.
    """
    return DataPlan(
        plan=plan_mixture(
            {"all": range(num_examples)},
            {"all": 1.0},
            optimizer.steps,
            optimizer.examples_per_step,
            optimizer.seed,
        ),
        pools=np.zeros(num_examples, np.int32),
        shares=np.full(num_examples, 1 / num_examples),
    )


def plan_groups(
    groups: Mapping[str, Sequence[Group]],
    weights: Mapping[str, float],
    steps: int,
    examples_per_step: int,
    seed: int,
) -> NDArray[np.int64]:
    """Draw int64 [steps, examples_per_step] example numbers: 8 bytes a draw.

    Each draw takes its task with probability proportional to the task's weight. The
    draws of a task alternate between its groups, so that every stretch of them has the groups in
    the proportion of their weights, as nearly as whole numbers can. Inside a group, examples come
    in a new random order each epoch, so that none is repeated before all were seen. Tasks that the
    corpus lacks are left out, and the other weights keep their ratios.

    Raises:
        MixtureError: a weight is negative or not finite, weights have no finite sum, or no task of
            positive weight has an example.
    """
    used = {task: _used(some) for task, some in groups.items()}
    tasks, shares = task_shares([task for task, some in used.items() if some], weights)
    draw = np.random.default_rng([seed, 0])
    drawn = draw.choice(len(tasks), size=steps * examples_per_step, p=shares)
    plan = np.empty(steps * examples_per_step, dtype=np.int64)
    for number, task in enumerate(tasks):
        indices = np.flatnonzero(drawn == number)
        plan[indices] = _draws(used[task], len(indices), seed, number)
    return plan.reshape(steps, examples_per_step)


def task_shares(
    tasks: Sequence[str], weights: Mapping[str, float]
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the tasks that are drawn, of those that have examples, and the probability of each.

    Raises:
        MixtureError: like `plan_groups`.
    """
    check_weights(weights, "task")
    drawn = sorted(task for task in tasks if weights.get(task, 0) > 0)
    if not drawn:
        raise MixtureError(
            f"the corpus has examples for {sorted(tasks)}, the "
            f"mixture weighs {sorted(weights)}: "
            "nothing is left to train on. Give one of the corpus's tasks a positive weight."
        )
    return drawn, _shares({task: weights[task] for task in drawn})


def group_shares(groups: Sequence[Group]) -> NDArray[np.float64]:
    """Return the share of a task's draws that each of its groups gets.

    Raises:
        MixtureError: the weights have no finite sum.
    """
    return _shares({f"group {number}": group.weight for number, group in enumerate(groups)})


def check_weights(weights: Mapping[str, float], what: str) -> None:
    """Refuse weights that are negative or not finite.

    Raises:
        MixtureError: one is.
    """
    refused = {name: w for name, w in weights.items() if w < 0 or not math.isfinite(w)}
    if refused:
        raise MixtureError(
            f"mixture weights {refused} are negative or not finite; use 0 to leave a {what} out"
        )


def _shares(weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Divide each weight by the sum of all."""
    if not math.isfinite(total := sum(weights.values())):
        raise MixtureError(
            f"mixture weights {dict(weights)} add up to {total}; their sum has to be finite. Only "
            "their ratios count: divide all by the largest."
        )
    return np.array([*weights.values()]) / total


def _used(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if len(group.examples) and group.weight > 0]


def _draws(groups: Sequence[Group], count: int, seed: int, task: int) -> NDArray[np.int64]:
    """Draw `count` examples of a task."""
    if len(groups) == 1:
        return _epochs(np.array(groups[0].examples), count, [seed, 1, task])
    turns = _alternating(group_shares(groups), count, [seed, 2, task])
    draws = np.empty(count, dtype=np.int64)
    for number, group in enumerate(groups):
        indices = np.flatnonzero(turns == number)
        draws[indices] = _epochs(np.array(group.examples), len(indices), [seed, 3, task, number])
    return draws


def _alternating(shares: NDArray[np.float64], count: int, seed: list[int]) -> NDArray[np.intp]:
    """Return [count]: the group whose turn it is.

    A group of share q has its turns at the times (i + u) / q, with u random: between two times
    lie as many turns as its share asks for, to within one.
    """
    phases = np.random.default_rng(seed).random(len(shares))
    turns = [math.ceil(count * share) + 1 for share in shares]
    times = [
        (np.arange(some) + phase) / share
        for some, phase, share in zip(turns, phases, shares, strict=True)
    ]
    owners = np.arange(len(shares)).repeat(turns)
    return owners[np.concatenate(times).argsort(kind="stable")[:count]]


def _epochs(examples: NDArray[np.int64], count: int, seed: list[int]) -> NDArray[np.int64]:
    """Draw `count` examples: one shuffled epoch after the other."""
    epochs = -(-count // len(examples)) if count else 0
    orders = [
        np.random.default_rng([*seed, epoch]).permutation(examples) for epoch in range(epochs)
    ]
    return np.concatenate(orders)[:count] if orders else np.empty(0, dtype=np.int64)
