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
