"""Each example comes once an epoch, over any interruption."""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.compute.interface import Worker
from infra.compute.keep_checkpoints import KeepCheckpoints
from infra.compute.resources import Loading
from infra.storage.retrying_store import RetryingStore
from infra.storage.store import Store
from tasks.training.checkpoints.folder import Checkpoints
from tasks.training.data_plan import DataPlan
from tasks.training.guards.audit import Consumed, Trail, check_consumed, check_epochs
from tasks.training.loader import LoadedStep, Loader
from tasks.training.state import Trained, TrainingState
from tasks.training_data.mixture_plan import plan_mixture
from tests.support.example_numbers import Numbers
from tests.support.training_jobs import data_plan

NOTHING_LEARNT = Trained(parameters={"weight": torch.zeros(1)}, optimizer={})


@dataclass(frozen=True)
class Planned:
    """What a run takes in which step, of examples of which some are text alone."""

    pools: Sequence[range]
    plan: np.ndarray
    written_every: int

    @property
    def data(self) -> DataPlan:
        codes = np.repeat(np.arange(len(self.pools)), [*map(len, self.pools)]).astype(np.int32)
        return data_plan(self.plan, codes)


@st.composite
def plans(draw: st.DrawFn) -> Planned:
    """40 steps of up to three tasks of different sizes."""
    ends = np.cumsum([0, *draw(st.lists(st.integers(7, 60), min_size=1, max_size=3))]).tolist()
    pools = [range(*pair) for pair in pairwise(ends)]
    tasks = {f"task {number}": pool for number, pool in enumerate(pools)}
    weights = {task: draw(st.floats(0.3, 3)) for task in tasks}
    plan = plan_mixture(tasks, weights, 40, draw(st.integers(5, 12)), draw(st.integers(0, 999)))
    return Planned(pools, plan, draw(st.integers(2, 6)))


@dataclass(frozen=True)
class Interruption:
    """One attempt: its workers, how far it comes, how often it saves and what of the last save
    was done when it was killed.
    """

    num_workers: int
    threads: int
    ahead: int
    steps: int
    save_every: int
    saved: str


INTERRUPTIONS = st.lists(
    st.builds(
        Interruption,
        num_workers=st.integers(1, 5),
        threads=st.integers(1, 3),
        ahead=st.integers(0, 4),
        steps=st.integers(0, 6),
        save_every=st.integers(1, 3),
        saved=st.sampled_from(["notes of one worker", "notes", "state"]),
    ),
    min_size=20,
    max_size=24,
)


class Run:
    """What training does with its store, without a network; it can be killed anywhere."""

    def __init__(self, planned: Planned, url: str, scratch: Path) -> None:
        self.planned = planned
        self.patient = RetryingStore(Store(url), print)
        self.checkpoints = Checkpoints(
            self.patient, {"data plan": "x"}, KeepCheckpoints(), lambda _: None, scratch
        )

    def attempt(self, cut: Interruption, draw: random.Random) -> None:
        """From the last state on, as far as the interruption lets it come."""
        state, _ = self.checkpoints.load_newest() or (TrainingState(), None)
        self.checkpoints.local.forget()
        first, workers = state.step, range(cut.num_workers)
        trails = [Trail(self.patient, rank, first) for rank in workers]
        trails[0].forget_undone()
        loading = Loading(threads=cut.threads, steps_ahead=cut.ahead)
        plan, source = self.planned.plan, Numbers(written_every=self.planned.written_every)
        with ExitStack() as opened:
            ready = [
                iter(
                    opened.enter_context(
                        Loader(plan, source, Worker(rank, cut.num_workers), 300, loading, first)
                    )
                )
                for rank in workers
            ]
            end = min(len(plan), first + cut.steps)
            for step in range(first, end):
                for steps, trail in zip(ready, trails, strict=True):
                    self._note(step, next(steps), trail)
                state.step = step + 1
                if state.step % cut.save_every == 0 or state.step == len(plan):
                    self._save(state, trails, "state" if state.step < end else cut.saved)
            for steps, trail in zip(ready, trails, strict=True):
                if end < len(plan) and draw.random() < 0.5:  # some come further than others
                    self._note(end, next(steps), trail)

    def _note(self, step: int, loaded: LoadedStep[tuple[int, ...]], trail: Trail) -> None:
        """Note the numbers in the batches themselves; what only keeps others company is none."""
        assert loaded.step == step
        batches = zip(loaded.micro_batches, loaded.examples, strict=True)
        trail.note(step, [batch[1:] for batch, mine in batches if mine])

    def _save(self, state: TrainingState, trails: Sequence[Trail], done: str) -> None:
        """As far as it was done before the group was killed."""
        for trail in trails[:1] if done == "notes of one worker" else trails:
            trail.write_down(state.step)
        if done == "state":
            self.checkpoints.save(self.checkpoints.files_of(NOTHING_LEARNT, state), state.step)

    def consumed(self) -> list[Consumed]:
        """By what the last attempt's first worker finds in the store."""
        return Trail(self.patient, 0, len(self.planned.plan)).of_all_workers()


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(planned=plans(), interruptions=INTERRUPTIONS, draw=st.randoms(use_true_random=False))
def test_no_example_is_lost_or_repeated_over_a_thousand_interruptions(
    planned: Planned,
    interruptions: list[Interruption],
    draw: random.Random,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """50 runs of 20 to 24 interruptions each: other plans, and ever other workers and threads."""
    scratch = tmp_path_factory.mktemp("run")
    run = Run(planned, str(scratch / "artifact"), scratch)
    with patch("os.fsync"):  # processes are killed here, not machines
        for cut in interruptions:
            run.attempt(cut, draw)
        run.attempt(replace(interruptions[0], steps=len(planned.plan), saved="state"), draw)

    consumed = run.consumed()
    check_epochs(planned.data)
    check_consumed(planned.plan, consumed, planned.plan)
    # And without the plan: by what was computed alone.
    times = Counter(chain.from_iterable(note.examples for note in consumed))
    assert times.total() == planned.plan.size
    for pool in planned.pools:
        whole_epochs, more = divmod(sum(times[example] for example in pool), len(pool))
        in_this_pool = Counter(times[example] - whole_epochs for example in pool)
        assert in_this_pool == Counter({0: len(pool) - more} | ({1: more} if more else {}))
