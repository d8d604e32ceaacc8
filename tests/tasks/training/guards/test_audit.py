"""What the audit compares with the plan; a training that can't prove its epochs ends."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.compute.in_process import InProcess
from infra.retry import NOT_RETRYABLE
from infra.storage.retrying_store import RetryingStore
from infra.storage.store import Store
from tasks.training.fit import CHECKPOINT, fit
from tasks.training.guards.audit import AuditError, Consumed, Trail, audit, check_epochs, too_early
from tasks.training_data.example_table import Column, ExampleTable
from tasks.training_data.mixture import Mixture
from tests.support.example_numbers import drawing
from tests.support.recordings import stage_context
from tests.support.training_jobs import Training, data_plan


def test_the_audit_names_what_is_lost_and_what_is_repeated() -> None:
    plan = np.array([[1, 2, 3], [4, 5, 6]])
    whole = [Consumed(0, (1, 2)), Consumed(0, (3,)), Consumed(1, (6, 5, 4))]
    assert audit(plan, whole).is_exact
    without = audit(plan, whole[::2])
    assert without.lost == {0: (3,)}
    assert "step 0 lost 3" in str(without)
    twice = audit(plan, [*whole, Consumed(1, (5,)), Consumed(7, (9,))])
    assert (twice.repeated, twice.lost) == ({1: (5,), 7: (9,)}, {})
    assert str(twice) == "2 examples differ from the plan: step 1 repeated 5; step 7 repeated 9"


def test_what_a_roll_back_left_out_is_not_missed() -> None:
    plan, admitted = np.array([[1, 2], [3, 2]]), np.array([[1, -1], [3, -1]])
    assert audit(plan, [Consumed(0, (1, 2)), Consumed(1, (3,))], admitted).is_exact
    assert audit(plan, [Consumed(0, (1, 2)), Consumed(1, (2,))], admitted).lost == {1: (3,)}


def test_a_trail_forgets_what_is_computed_again(tmp_path: Path) -> None:
    patient = RetryingStore(Store(str(tmp_path)), print)
    plan = np.array([[1, 2], [3, 4], [5, 6]])

    def work(rank: int, first: int, shares: dict[int, list[int]], until: int) -> Trail:
        trail = Trail(patient, rank, first)
        for step, examples in shares.items():
            trail.note(step, [examples])
            if step + 1 == until:
                trail.write_down(until)
        return trail

    for rank in (0, 1):  # both are killed in step 2, after the state of step 2
        work(rank, 0, {step: [int(plan[step][rank])] for step in range(3)}, until=2)
    work(1, 2, {2: [6]}, until=3)  # and one of the next group after its last notes
    last = Trail(patient, 0, 2)
    last.forget_undone()
    last.note(2, [[5], [6]])
    last.write_down(3)
    assert audit(plan, last.of_all_workers()).is_exact
    again = Trail(patient, 0, 0)
    again.forget_undone()
    assert again.of_all_workers() == []


@pytest.mark.parametrize(
    ("plan", "pools", "found"),
    [
        ([[1, 2], [2, 1]], [-1, 0, 0], {}),
        ([[1, 1], [2, 2]], [-1, 0, 0], {1: 0, 2: 1}),
        ([[1, 1], [2, 2]], [-1, 0, 1], {}),  # each is all of its group
        ([[0, 1], [2, 0]], [0, 1, 0], {}),  # the third draw of the first group begins anew
        ([[0, 1], [0, 2]], [0, 1, 0], {0: 1}),
        ([[1, 0]], [-1, 0], {0: 0}),  # what no group draws
    ],
)
def test_an_example_that_comes_before_all_of_its_group_came_is_too_early(
    plan: list[list[int]], pools: list[int], found: dict[int, int]
) -> None:
    assert too_early(data_plan(np.array(plan), np.array(pools, np.int32))) == found


@given(
    rows=st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from("ab"), st.sampled_from("AB"),
                            st.integers(1, 9)), min_size=1, max_size=6),
    temperature=st.sampled_from([None, 1.0, 3.0]),
    steps=st.integers(1, 30),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_what_a_mixture_plans_comes_in_whole_epochs_of_its_pools(
    rows: list[tuple[str, str, str, int]], temperature: float | None, steps: int, seed: int
) -> None:
    copies = [row for row in rows for _ in range(row[3])]
    sizes = np.ones(len(copies), np.int64)
    table = ExampleTable(
        task=Column.of(task for task, _, _, _ in copies),
        language=Column.of(language for _, language, _, _ in copies),
        corpus=Column.of(corpus for _, _, corpus, _ in copies),
        num_samples=sizes,
        num_audio_tokens=sizes,
    )
    there = sorted(set(table.corpus.names))
    mixture = Mixture(
        tasks={task: weight for task, weight in (("x", 1), ("y", 2)) if task in table.task.names},
        corpora=dict.fromkeys(there, 1.0),
        temperature=temperature,
    )
    data = mixture.draw(table, drawing(steps, 7, seed))
    check_epochs(data)
    plan, pools = data.plan, data.pools
    groups = [table.task.codes, table.corpus.codes, *[table.language.codes] * bool(temperature)]
    assert len(set(pools.tolist())) == len(set(zip(*map(list, groups), strict=True)))
    plan[-1, -1] = plan[0, 0]  # too early, unless its turn is just then or its pool is small
    again = too_early(data)
    mine = plan.ravel()[pools[plan.ravel()] == pools[plan[0, 0]]]
    pool = int((pools == pools[plan[0, 0]]).sum())
    last_epoch = mine[(len(mine) - 1) // pool * pool :]
    assert (int(plan[0, 0]) in again) == (np.sum(last_epoch == plan[0, 0]) > 1)


def test_a_plan_without_exact_epochs_is_refused_before_it_is_trained(
    training: Training, tmp_path: Path
) -> None:
    plan = training.plan.copy()
    plan[1, 1] = plan[0, 1]
    data = data_plan(plan, np.zeros(plan.max() + 1, np.int32))
    with pytest.raises(AuditError, match=rf"such as {plan[0, 1]} in step 1.*Mixture\.draw"):
        fit(
            stage_context(tmp_path), training.start, training.factory, data, training.optimizer
        )  # fmt: skip
    assert not Store(str(tmp_path)).exists(f"{CHECKPOINT}/config.json")


@pytest.mark.parametrize("fault", ["lost", "repeated"])
def test_a_training_whose_audit_is_not_exact_ends_without_a_model_and_goes_on_from_before(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def note(trail: Trail, step: int, micro_batches: Iterable[Sequence[int]]) -> None:
        """Of the fourth step something else is noted."""
        taken = [list(some) for some in micro_batches]
        if step == 3:
            taken = [taken[0][1:]] if fault == "lost" else [[*taken[0], taken[0][0]]]
        noted(trail, step, taken)

    noted = Trail.note
    undisturbed = training.run(tmp_path / "undisturbed", compute=InProcess())
    monkeypatch.setattr(Trail, "note", note)
    with pytest.raises(AuditError, match=rf"1 examples differ.*step 3 {fault} \d+.*Run again"):
        training.run(tmp_path, compute=InProcess())
    monkeypatch.undo()
    assert not (tmp_path / "artifact" / CHECKPOINT).exists()
    states = (tmp_path / "artifact/scratch/states").glob("*")
    assert all(int(state.name) <= 3 for state in states), "a state is the proof of all before it"
    again = training.run(tmp_path, compute=InProcess())
    assert all(torch.equal(again.weights[name], w) for name, w in undisturbed.weights.items())
    assert issubclass(AuditError, NOT_RETRYABLE), "another attempt ends alike"


def test_a_finished_training_whose_model_is_lost_exports_it_again_without_notes(
    training: Training, tmp_path: Path
) -> None:
    weights = training.run(tmp_path, compute=InProcess()).weights
    (tmp_path / "artifact" / CHECKPOINT / "model.safetensors").unlink()
    Store(str(tmp_path / "artifact")).delete("scratch")
    again = training.run(tmp_path, compute=InProcess())
    assert all(torch.equal(again.weights[name], found) for name, found in weights.items())
