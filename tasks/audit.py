"""Proof of which examples a training run consumed: each as often as planned, none lost.

Workers note what they compute. A step that was interrupted, or undone by going back to an earlier
checkpoint, is computed again by a later attempt, perhaps by other workers; what counts is the last
attempt at a step, because the attempts before it left nothing in the weights.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Consumed:
    """What one worker computed in a step."""

    attempt: int
    """Grows with every start of the training group."""
    step: int
    rank: int
    examples: tuple[int, ...]


@dataclass(frozen=True)
class Audit:
    """Where what was consumed differs from the plan."""

    lost: Mapping[int, tuple[int, ...]]
    """Step -> planned examples that no worker computed."""
    repeated: Mapping[int, tuple[int, ...]]
    """Step -> examples that were computed more often than planned."""

    @property
    def is_exact(self) -> bool:
        """Whether every planned example was consumed as often as planned, and nothing else."""
        return not self.lost and not self.repeated

    def __str__(self) -> str:
        if self.is_exact:
            return "every planned example was consumed once"
        parts = []
        for name, steps in (("lost", self.lost), ("repeated", self.repeated)):
            for step, examples in list(steps.items())[:3]:
                parts.append(f"step {step} {name} {', '.join(map(str, examples[:5]))}")
        count = sum(map(len, (*self.lost.values(), *self.repeated.values())))
        return f"{count} examples differ from the plan: {'; '.join(parts)}"


def audit(plan: np.ndarray, consumed: Iterable[Consumed]) -> Audit:
    """Compare what the last attempt at each step consumed with the plan.

    Args:
        plan: int64 [steps, examples_per_step], as far as it was trained.
        consumed: notes of all workers and attempts, in any order.
    """
    last: dict[int, int] = {}
    notes = list(consumed)
    for note in notes:
        last[note.step] = max(note.attempt, last.get(note.step, note.attempt))
    found: dict[int, Counter[int]] = {step: Counter() for step in range(len(plan))}
    for note in notes:
        if note.attempt == last[note.step]:
            found.setdefault(note.step, Counter()).update(note.examples)
    lost, repeated = {}, {}
    for step, taken in sorted(found.items()):
        planned = Counter(plan[step].tolist() if step < len(plan) else ())
        if missing := planned - taken:
            lost[step] = tuple(sorted(missing.elements()))
        if surplus := taken - planned:
            repeated[step] = tuple(sorted(surplus.elements()))
    return Audit(lost, repeated)


def epochs_are_exact(plan: np.ndarray, pools: Iterable[Sequence[int]]) -> bool:
    """Whether the plan takes all examples of each pool before it takes one of them again."""
    drawn = plan.ravel()
    for pool in pools:
        mine = drawn[np.isin(drawn, pool)]
        for start in range(0, len(mine), len(pool)):
            epoch = mine[start : start + len(pool)]
            if len(np.unique(epoch)) < len(epoch):
                return False
    return True
