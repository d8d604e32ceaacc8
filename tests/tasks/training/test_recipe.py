"""The loop's pure parts: learning rate."""

import pytest

from tasks.training.recipe import OptimizerRecipe

RECIPE = OptimizerRecipe(steps=10, examples_per_step=4, learning_rate=1.0, warmup_steps=4)


def test_the_rate_rises_linearly_and_falls_linearly_to_zero() -> None:
    rates = [RECIPE.rate(step) for step in range(11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])
