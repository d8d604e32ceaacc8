"""Examples that are nothing but numbers: what a loader hands out can be read off."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.training.recipe import OptimizerRecipe
from tasks.training.split import Load


def drawing(steps: int, examples_per_step: int, seed: int = 0) -> OptimizerRecipe:
    """A recipe of which nothing matters but what a plan depends on."""
    return OptimizerRecipe(
        steps=steps, examples_per_step=examples_per_step, seed=seed, learning_rate=1, warmup_steps=0
    )


@dataclass
class Numbers:
    """Examples of different lengths, whose batch is their numbers; slow where a test says so."""

    damaged: frozenset[int] = frozenset()
    slow_steps: frozenset[int] = frozenset()
    written_every: int = 1000
    """One in so many is text alone."""
    made: list[int] = field(default_factory=list)

    def loads(self, examples: Sequence[int]) -> list[Load]:
        return [
            Load(20 + 7 * (i % 11), 0 if i % self.written_every == 1 else 10 + 7 * (i % 11))
            for i in examples
        ]

    def prepare(self, examples: Sequence[int], step: int, /) -> tuple[int, ...]:
        if step in self.slow_steps:
            time.sleep(0.01)
        self.made.append(step)
        if broken := self.damaged & set(examples):
            raise ValueError(f"example {min(broken)} of step {step} is damaged")
        return (step, *examples)
