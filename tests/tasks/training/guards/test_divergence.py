"""The watch: what is a problem, what becomes of its step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.guards.divergence import DivergedError, RollBackError, Watch, WatchRecipe


def calm(watch: Watch, steps: int = 40) -> Watch:
    """A loss that falls with ripples, as losses do."""
    for step in range(steps):
        watch.remember(4.0 - step / 40 + 0.2 * math.sin(step), 1.0 + 0.3 * math.cos(step))
    return watch


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_what_is_not_finite_is_a_problem_from_the_first_step(name: str, value: float) -> None:
    problem = Watch(WatchRecipe(), {}).problem(name, value)
    assert problem == f"the {name} is {value}"


def test_a_spike_stands_out_from_the_median_of_the_steps_before() -> None:
    watch = calm(Watch(WatchRecipe(spike=6), {}))
    assert watch.problem("loss", 3.9) is None
    assert "a spike above" in (watch.problem("loss", 12.0) or "")
    assert "a spike above" in (watch.problem("gradient_norm", 40.0) or "")


def test_spikes_before_hide_no_spike_as_they_would_with_mean_and_deviation() -> None:
    watch = calm(Watch(WatchRecipe(spike=6), {}))
    for _ in range(8):
        watch.remember(50.0, 50.0)
    assert watch.problem("loss", 12.0) is not None


def test_too_few_steps_or_no_limit_make_no_spike() -> None:
    assert calm(Watch(WatchRecipe(spike=6), {}), steps=31).problem("loss", 1e9) is None
    assert calm(Watch(WatchRecipe(), {})).problem("loss", 1e9) is None


@given(st.floats(0.1, 10), st.floats(0, 0.04))
def test_the_noise_of_a_flat_loss_is_no_spike(level: float, noise: float) -> None:
    watch = Watch(WatchRecipe(spike=1), {})
    for _ in range(50):
        watch.remember(level, level)
    assert watch.problem("loss", level * (1 + noise)) is None


def test_stop_raises_with_problem_rule_and_remedy() -> None:
    watch = Watch(WatchRecipe(), {})
    with pytest.raises(DivergedError, match=r"step 7: the loss is nan.*'stop'.*lower the learning"):
        watch.react(7, "the loss is nan", [3])


def test_skips_are_bounded() -> None:
    watch = Watch(WatchRecipe(policy="skip", at_most=2), {})
    watch.react(1, "the loss is nan", [])
    watch.react(2, "the loss is nan", [])
    with pytest.raises(DivergedError, match="problem 3 of this run"):
        watch.react(3, "the loss is nan", [])


def test_a_roll_back_excludes_the_culprits_from_every_later_step() -> None:
    watch = Watch(WatchRecipe(policy="roll_back"), {})
    with pytest.raises(RollBackError):
        watch.react(7, "the loss is nan", [11])
    again = Watch(WatchRecipe(policy="roll_back"), {}, before=watch)
    plan = np.array([[10, 11, 12], [11, 11, 11]])
    assert again.admitted(plan).tolist() == [[10, -1, 12], [-1, -1, -1]]


def test_a_roll_back_without_a_culprit_excludes_the_step() -> None:
    watch = Watch(WatchRecipe(policy="roll_back"), {})
    with pytest.raises(RollBackError):
        watch.react(1, "the loss is 99, a spike", [])
    assert watch.admitted(np.array([[10, 11], [12, 13]])).tolist() == [[10, 11], [-1, -1]]
