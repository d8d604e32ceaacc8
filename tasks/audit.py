"""Proof of which examples a training run consumed: each as often as planned, none lost.

Every worker notes what it computes, and writes its notes down before each training state. A step
that was interrupted, or undone by going back to an earlier state, is computed again by a later
attempt, perhaps by other workers; the notes of the attempts before it are deleted, because those
left nothing in the weights.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infra.patient_store import PatientStore

_FOLDER = "scratch/audit"


@dataclass(frozen=True)
class Consumed:
    """What one worker computed in a step."""

    step: int
    examples: tuple[int, ...]


class Trail:
    """The notes of one worker."""

    def __init__(self, patient: PatientStore, rank: int, first: int) -> None:
        """`first` is the step that training continues from, which is that of a state, or 0."""
        self._patient, self._rank, self._first = patient, rank, first
        self._notes: list[Consumed] = []

    def forget_undone(self) -> None:
        """Delete what any worker noted of steps that are computed again; one worker calls it."""
        for key in self._patient.store.list_keys(_FOLDER):
            if _first_step(key) >= self._first:
                self._patient.store.delete(key)

    def note(self, step: int, micro_batches: Iterable[Iterable[int]]) -> None:
        """Keep in mind what this worker computed in a step."""
        taken = tuple(example for some in micro_batches for example in some)
        self._notes.append(Consumed(step, taken))

    def write_down(self, step: int) -> None:
        """Move the notes into the store, before the state whose next step is `step`."""
        content = json.dumps([[note.step, note.examples] for note in self._notes])
        key = f"{_FOLDER}/{self._first:08d}-{self._rank}.json"
        self._patient.write_bytes(key, content.encode())
        self._first, self._notes = step, []

    def of_all_workers(self) -> list[Consumed]:
        """Everything that was written down."""
        store = self._patient.store
        return [
            Consumed(step, tuple(examples))
            for key in store.list_keys(_FOLDER)
            for step, examples in json.loads(store.read_bytes(key))
        ]


def _first_step(key: str) -> int:
    return int(key.rsplit("/", 1)[1].partition("-")[0])


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


def audit(
    plan: np.ndarray, consumed: Iterable[Consumed], admitted: np.ndarray | None = None
) -> Audit:
    """Compare what was consumed with the plan.

    Args:
        plan: int64 [steps, examples_per_step], as far as it was trained.
        consumed: notes of all workers, in any order.
        admitted: the plan with -1 where a roll-back has left an example out. It may have been
            consumed before that.
    """
    required = plan if admitted is None else admitted
    found: dict[int, Counter[int]] = {step: Counter() for step in range(len(plan))}
    for note in consumed:
        found.setdefault(note.step, Counter()).update(note.examples)
    lost, repeated = {}, {}
    for step, taken in sorted(found.items()):
        planned, needed = (
            Counter(rows[step].tolist() if step < len(rows) else ()) for rows in (plan, required)
        )
        del needed[-1]
        if missing := needed - taken:
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
