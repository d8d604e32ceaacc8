"""The notes of workers: which of them are read, kept and deleted; what the audit says of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.storage.retrying_store import RetryingStore
from infra.storage.store import Store
from tasks.training.guards.audit import Audit, AuditError, Consumed, Trail, audit, check_consumed


@pytest.fixture
def patient(tmp_path: Path) -> RetryingStore:
    return RetryingStore(Store(str(tmp_path)), pytest.fail)


def note(patient: RetryingStore, rank: int, first: int, until: int) -> None:
    """A worker computes example 10 * step + rank of each step."""
    trail = Trail(patient, rank, first)
    for step in range(first, until):
        trail.note(step, [[10 * step + rank]])
    trail.write_down(until)


def steps(consumed: list[Consumed]) -> list[int]:
    return sorted(note.step for note in consumed)


def test_a_file_is_named_by_its_first_step_and_its_rank_and_holds_pairs(
    patient: RetryingStore,
) -> None:
    trail = Trail(patient, 3, 20)
    trail.note(20, [[1, 2], [], [3]])
    trail.note(21, [])
    trail.write_down(22)
    trail.note(22, [[4]])
    trail.write_down(23)
    store = patient.store
    assert store.read_text("scratch/audit/00000020-3.json") == "[[20, [1, 2, 3]], [21, []]]"
    assert store.read_text("scratch/audit/00000022-3.json") == "[[22, [4]]]"
    assert len(store.list_keys("scratch/audit")) == 2


def test_notes_are_read_from_a_step_on_and_of_all_workers(patient: RetryingStore) -> None:
    for rank in (0, 1):
        note(patient, rank, 0, 2)
        note(patient, rank, 2, 3)
    trail = Trail(patient, 0, 3)
    assert steps(trail.of_all_workers()) == [0, 0, 1, 1, 2, 2]
    assert sorted(trail.of_all_workers(2), key=lambda note: note.examples) == [
        Consumed(2, (20,)),
        Consumed(2, (21,)),
    ]
    assert trail.of_all_workers(3) == []


def test_what_is_computed_again_is_forgotten_from_the_first_step_on(patient: RetryingStore) -> None:
    note(patient, 0, 0, 2)
    note(patient, 1, 2, 4)
    Trail(patient, 0, 2).forget_undone()
    assert steps(Trail(patient, 0, 2).of_all_workers()) == [0, 1]


def test_notes_of_audited_steps_are_deleted_and_no_later_ones(patient: RetryingStore) -> None:
    note(patient, 0, 0, 2)
    note(patient, 0, 2, 4)
    trail = Trail(patient, 0, 4)
    trail.forget_audited(2)
    assert steps(trail.of_all_workers()) == [2, 3]


@pytest.mark.parametrize("content", ["", "{", "[1]", "[[0]]", "null"])
def test_notes_that_can_not_be_read_are_lost_and_the_others_are_not(
    patient: RetryingStore, content: str
) -> None:
    note(patient, 0, 0, 2)
    patient.store.write_text("scratch/audit/00000000-1.json", content)
    assert steps(Trail(patient, 0, 2).of_all_workers()) == [0, 1]


def test_what_can_not_be_deleted_does_no_harm(
    patient: RetryingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    note(patient, 0, 0, 2)
    monkeypatch.setattr(Store, "delete", refuse)
    Trail(patient, 0, 2).forget_audited(2)
    with pytest.raises(PermissionError):
        Trail(patient, 0, 0).forget_undone()


PLAN = np.array([[1, 2], [3, 4], [5, 5]])
ADMITTED = np.array([[1, 2], [3, -1], [5, 5]])


def test_an_audit_begins_with_the_step_that_it_is_asked_for() -> None:
    notes = [Consumed(1, (4, 3)), Consumed(2, (5, 5))]
    assert audit(PLAN, notes, begin=1).is_exact
    assert audit(PLAN, notes).lost == {0: (1, 2)}
    assert audit(PLAN, notes[1:], begin=2).is_exact
    assert audit(PLAN, notes[1:], begin=1).lost == {1: (3, 4)}


def test_an_example_that_a_step_plans_twice_is_computed_twice() -> None:
    notes = [Consumed(0, (1, 2)), Consumed(1, (3, 4))]
    assert audit(PLAN, [*notes, Consumed(2, (5,))]).lost == {2: (5,)}
    assert audit(PLAN, [*notes, Consumed(2, (5, 5, 5))]).repeated == {2: (5,)}


def test_steps_after_the_plan_s_end_are_repeated_and_those_before_it_are_lost() -> None:
    notes = [Consumed(0, (1, 2)), Consumed(1, (3, 4)), Consumed(2, (5, 5)), Consumed(3, (7,))]
    assert audit(PLAN, notes) == Audit({}, {3: (7,)})
    assert audit(PLAN[:2], notes[:1]) == Audit({1: (3, 4)}, {})


def test_what_is_said_is_short_and_counts_everything() -> None:
    lost = {step: tuple(range(7)) for step in range(5)}
    text = str(Audit(lost, {9: (8, 8)}))
    assert text.startswith("37 examples differ from the plan: step 0 lost 0, 1, 2, 3, 4; step 1 ")
    assert text.endswith("; step 2 lost 0, 1, 2, 3, 4; step 9 repeated 8, 8")
    assert str(Audit({}, {})) == "every planned example was consumed once"
    assert [Audit(lost, {}).is_exact, Audit({}, lost).is_exact] == [False, False]


def test_a_training_that_is_not_exact_ends_and_an_exact_one_is_said() -> None:
    notes = [Consumed(0, (1, 2)), Consumed(1, (3,)), Consumed(2, (5, 5))]
    assert check_consumed(PLAN, notes, ADMITTED).is_exact
    assert check_consumed(PLAN, notes[1:], ADMITTED, 1).is_exact
    with pytest.raises(AuditError, match=r"1 examples differ.*step 1 lost 4\. Each planned"):
        check_consumed(PLAN, notes, PLAN)
