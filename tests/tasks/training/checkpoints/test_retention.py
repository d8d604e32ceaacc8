"""Which training states stay, by hand and by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.compute.keep_checkpoints import KeepCheckpoints
from tasks.training.checkpoints.retention import Saved, steps_to_keep

HOUR = 3600.0
STATES = [
    Saved(step=step, saved_at=step * HOUR / 4, metrics={"loss": loss, "accuracy": -loss})
    for step, loss in [(1, 5.0), (2, 1.0), (3, 4.0), (4, 2.0), (5, 3.0), (6, 6.0), (7, 7.0)]
]


def test_the_last_ones() -> None:
    assert steps_to_keep(STATES, KeepCheckpoints(last=3)) == {5, 6, 7}


def test_the_best_ones_by_a_metric_where_lower_or_higher_is_better() -> None:
    assert steps_to_keep(STATES, KeepCheckpoints(last=1, best=2)) == {2, 4, 7}
    higher = KeepCheckpoints(last=1, best=1, metric="loss", better="higher")
    assert steps_to_keep(STATES, higher) == {7}
    accuracy = KeepCheckpoints(last=1, best=1, metric="accuracy", better="higher")
    assert steps_to_keep(STATES, accuracy) == {2, 7}


def test_every_so_many_steps_and_the_first_of_every_hour() -> None:
    assert steps_to_keep(STATES, KeepCheckpoints(last=1, every_steps=3)) == {3, 6, 7}
    assert steps_to_keep(STATES, KeepCheckpoints(last=1, every_hours=1)) == {1, 4, 7}


def test_keeping_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="last"):
        KeepCheckpoints(last=0)


@given(
    st.lists(st.integers(0, 50), unique=True),
    st.integers(1, 5),
    st.integers(0, 5),
    st.none() | st.integers(1, 10),
)
def test_the_newest_is_always_kept_and_a_second_look_deletes_nothing(
    steps: list[int], last: int, best: int, every: int | None
) -> None:
    saved = [Saved(step, step * 100.0, {"loss": float(step * 7 % 11)}) for step in steps]
    policy = KeepCheckpoints(last=last, best=best, every_steps=every, every_hours=0.1)
    kept = steps_to_keep(saved, policy)
    assert kept <= set(steps)
    assert set(sorted(steps)[-last:]) <= kept
    left = [state for state in saved if state.step in kept]
    assert steps_to_keep(left, policy) == kept


def test_of_equally_good_states_the_earlier_one_is_kept() -> None:
    equal = [Saved(step, 0.0, {"loss": 1.0}) for step in (3, 1, 2, 4)]
    for better in ("lower", "higher"):
        policy = KeepCheckpoints.model_validate({"last": 1, "best": 1, "better": better})
        assert steps_to_keep(equal, policy) == {1, 4}


def test_a_state_without_the_metric_is_not_ranked() -> None:
    saved = [Saved(1, 0.0, {}), Saved(2, 0.0, {"loss": 9.0}), Saved(3, 0.0, {"norm": 0.0})]
    assert steps_to_keep(saved, KeepCheckpoints(last=1, best=2)) == {2, 3}


def test_a_period_of_hours_begins_on_its_multiple() -> None:
    """Of half hours since 1970: 1799 s is in the first, 1800 s in the second."""
    saved = [Saved(step, seconds, {}) for step, seconds in enumerate((0, 1799, 1800, 3599, 3600))]
    assert steps_to_keep(saved, KeepCheckpoints(last=1, every_hours=0.5)) == {0, 2, 4}
    assert steps_to_keep(saved, KeepCheckpoints(last=1, every_hours=2)) == {0, 4}
