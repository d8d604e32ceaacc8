"""Audit: the proof of which examples a training consumed, each once an epoch, none lost.

It has two parts: what all workers computed is the plan, and the plan takes no example of a pool
again before it took all of them.

Every worker notes what it computes, and writes its notes down before each training state. The
first worker compares them with the plan before the state is saved: a state is the proof of all
steps before it, and their notes are needed no more. A step that was interrupted, or undone by going
back to an earlier state, is computed again by a later attempt, perhaps by other workers; the notes
of the attempts before it are deleted, because those left nothing in the weights.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.retry import FinalError
from infra.storage.retrying_store import RetryingStore
from tasks.training.data_plan import DataPlan

_FOLDER = "scratch/audit"


class AuditError(FinalError):
    """A training computed something else than its plan, or its plan has no exact epochs."""


@dataclass(frozen=True)
class Consumed:
    """What one worker computed in a step."""

    step: int
    examples: tuple[int, ...]


class Trail:
    """The notes of one worker about what it computed."""

    def __init__(self, patient: RetryingStore, rank: int, first: int) -> None:
        """`first` is the step that training continues from, which is that of a state, or 0."""
        self._patient, self._rank, self._first = patient, rank, first
        self._notes: list[Consumed] = []

    def forget_undone(self) -> None:
        """Delete what any worker noted of steps that are computed again; one worker calls it."""
        for key in self._patient.store.list_keys(_FOLDER):
            if _first_step(key) >= self._first:
                self._patient.store.delete(key)

    def note(self, step: int, micro_batches: Iterable[Iterable[int]]) -> None:
        """Note what this worker computed in a step."""
        taken = tuple(example for some in micro_batches for example in some)
        self._notes.append(Consumed(step, taken))

    def write_down(self, step: int) -> None:
        """Move the notes into the store, before the state whose next step is `step`."""
        content = json.dumps([[note.step, note.examples] for note in self._notes])
        key = f"{_FOLDER}/{self._first:08d}-{self._rank}.json"
        self._patient.write_bytes(key, content.encode())
        self._first, self._notes = step, []

    def of_all_workers(self, begin: int = 0) -> list[Consumed]:
        """Read everything that all workers have written down of the steps from `begin` on.

        Notes that can't be read are lost, which the audit tells.
        """
        store, consumed = self._patient.store, []
        for key in store.list_keys(_FOLDER):
            if _first_step(key) >= begin:
                with suppress(ValueError, TypeError):
                    notes = json.loads(store.read_bytes(key))
                    consumed += [Consumed(step, tuple(examples)) for step, examples in notes]
        return consumed

    def forget_audited(self, end: int) -> None:
        """Delete the notes of the steps before `end`; what can't be deleted does no harm."""
        with suppress(Exception):
            for key in self._patient.store.list_keys(_FOLDER):
                if _first_step(key) < end:
                    self._patient.store.delete(key)


def _first_step(key: str) -> int:
    return int(key.rsplit("/", 1)[1].partition("-")[0])


@dataclass(frozen=True)
class Audit:
    """Differences between what was consumed and the plan."""

    lost: Mapping[int, tuple[int, ...]]
    """Step -> planned examples that no worker computed."""
    repeated: Mapping[int, tuple[int, ...]]
    """Step -> examples that were computed more often than planned."""

    @property
    def is_exact(self) -> bool:
        """Tell whether every planned example was consumed as often as planned, and nothing else."""
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
    plan: np.ndarray,
    consumed: Iterable[Consumed],
    admitted: np.ndarray | None = None,
    begin: int = 0,
) -> Audit:
    """Compare what was consumed with the plan.

    Args:
        plan: int64 [steps, examples_per_step], as far as it was trained.
        consumed: notes of all workers, in any order.
        admitted: the plan with -1 where a roll-back has left an example out. It may have been
            consumed before that.
        begin: first step that is compared; there are no notes of those before.
    """
    required = plan if admitted is None else admitted
    by_step: dict[int, Counter[int]] = {step: Counter() for step in range(begin, len(plan))}
    for note in consumed:
        by_step.setdefault(note.step, Counter()).update(note.examples)
    lost, repeated = {}, {}
    for step, taken in sorted(by_step.items()):
        planned, needed = (
            Counter(rows[step].tolist() if step < len(rows) else ()) for rows in (plan, required)
        )
        del needed[-1]
        if missing := needed - taken:
            lost[step] = tuple(sorted(missing.elements()))
        if surplus := taken - planned:
            repeated[step] = tuple(sorted(surplus.elements()))
    return Audit(lost, repeated)


def too_early(data: DataPlan) -> dict[int, int]:
    """Find examples that the plan takes again before it took all of their pool.

    Returns:
        Example -> the first step that takes it too early.
    """
    plan, pools = data.plan, data.pools
    drawn = plan.ravel()
    order = np.argsort(pools[drawn], kind="stable")  # each pool's draws, in their order
    examples, codes = drawn[order], pools[drawn][order]
    starts = np.searchsorted(codes, codes)
    sizes = np.bincount(pools[pools >= 0], minlength=1)
    epochs = (np.arange(len(order)) - starts) // sizes[codes]
    again = np.flatnonzero((codes < 0) | _seen_before(examples, epochs))
    steps = order[again] // plan.shape[1]
    first: dict[int, int] = {}
    for example, step in sorted(zip(examples[again].tolist(), steps.tolist(), strict=True)):
        first.setdefault(example, step)
    return first


def _seen_before(examples: NDArray[np.int64], epochs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark each draw whose example was drawn in the same epoch before."""
    order = np.lexsort((epochs, examples))
    same = (np.diff(examples[order]) == 0) & (np.diff(epochs[order]) == 0)
    seen = np.zeros(len(examples), bool)
    seen[order[1:][same]] = True
    return seen


def check_epochs(data: DataPlan) -> None:
    """Refuse a plan that takes an example again before all others of its pool.

    Raises:
        AuditError: it does.
    """
    if again := too_early(data):
        some = [f"{example} in step {step}" for example, step in list(again.items())[:5]]
        raise AuditError(
            f"audit: the plan takes {len(again)} examples again before all of their group came, "
            f"such as {', '.join(some)}. In an epoch each is drawn once: plan with `Mixture.draw`, "
            "whose plan and pools belong together."
        )


def check_consumed(
    plan: NDArray[np.int64],
    consumed: Iterable[Consumed],
    admitted: NDArray[np.int64],
    begin: int = 0,
) -> Audit:
    """Audit a training, which has to be exact.

    Args:
        plan: like that of `audit`, as all others.

    Raises:
        AuditError: it is not.
    """
    result = audit(plan, consumed, admitted, begin)
    if not result.is_exact:
        raise AuditError(
            f"audit: {result}. Each planned example has to be computed once in its step, whatever "
            "interrupts training. Run again: it goes on from the training state before, which is "
            "proven. If that ends like this too, the loader is at fault; if it began with an "
            f"earlier version and notes below {_FOLDER} are lost, delete the stage's folder."
        )
    return result
