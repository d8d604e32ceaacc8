"""Groups of two real processes under watch: planted NaN, planted stall, early evaluation."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from infra.compute.resources import Resources
from tasks.evaluation.early import EarlyEvaluation
from tasks.objectives.supervised import SupervisedFactory
from tasks.training.fit import fit
from tasks.training.guards import stall
from tasks.training.guards.divergence import WatchRecipe
from tasks.training.objective import ExampleSource, MicroBatch, Objective, StepOutcome
from tasks.training.split import Load
from tests.support.recordings import stage_context
from tests.support.training_jobs import STEPS, Finished, Training
from tests.support.worker_processes import GroupFailedError, Processes

BAD_STEP = 12


@dataclass(frozen=True)
class Planted:
    """Builds the supervised objective with a fault in it."""

    factory: SupervisedFactory
    nan_example: int = -1
    """Its features are NaN, as after a fault between corpus and network."""
    stall_at: tuple[int, int] = (-1, -1)
    """(step, rank) whose micro-batches never become ready."""

    def __call__(self, processor: Qwen2AudioProcessor) -> "PlantedObjective":
        if self.stall_at[0] >= 0:
            let_time_pass_only_in_the_stall(self.stall_at[0])
        return PlantedObjective(self, self.factory(processor))


class PlantedObjective:
    """The supervised objective, but for its fault."""

    def __init__(self, planted: Planted, inner: Objective) -> None:
        self._planted, self._inner = planted, inner
        self._rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0

    def loads(self, examples: Sequence[int]) -> list[Load]:
        return self._inner.loads(examples)

    def sources(self, examples: Sequence[int]) -> list[ExampleSource]:
        return self._inner.sources(examples)

    def prepare(self, examples: Sequence[int], step: int) -> MicroBatch:
        if (step, self._rank) == self._planted.stall_at:
            stand_still_in_a_planted_place()
        prepared = self._inner.prepare(examples, step)
        if self._planted.nan_example in examples:
            for features in prepared.batch.features:
                features.fill_(torch.nan)
        return prepared

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch
    ) -> StepOutcome:
        return self._inner.outcome(model, prepared)


def stand_still_in_a_planted_place() -> None:
    threading.Event().wait()


PLACES = "stand_still_in_a_planted_place", "all_reduce"
"""Where the workers of a stalled group are."""


def let_time_pass_only_in_the_stall(planned: int) -> None:
    """For the guard of this worker's process: it finds the stall at once, and takes no pause of a
    slow machine for one.
    """
    beat, reached = stall.StallGuard.beat, list[int]()

    def noted(guard: stall.StallGuard, step: int) -> None:
        beat(guard, step)
        reached.append(step)

    def monotonic() -> float:
        stalls = planned in reached and any(p in stall.stacks_of_all_threads() for p in PLACES)
        return 3600.0 if stalls else 0.0

    for owner, name, value in (
        (stall.StallGuard, "beat", noted),
        (stall, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep)),
        (stall, "_GRACE_SECONDS", 120.0),  # each waits for the other's stack
    ):
        setattr(owner, name, value)


def supervised(training: Training) -> SupervisedFactory:
    assert isinstance(training.factory, SupervisedFactory)
    return training.factory


@dataclass
class Watched:
    """A training and what was said about it."""

    folder: Path
    training: Training
    said: list[str] = field(default_factory=list)

    def run(
        self, num_workers: int, planted: Planted, watch: WatchRecipe, **resources: Any
    ) -> list[float]:
        """Losses at each log."""
        held_out = [planted.factory.examples[number][0] for number in range(8)]
        context = replace(
            stage_context(self.folder / "artifact"),
            compute=Processes(self.folder / "groups", num_workers),
            progress=self.said.append,
            resources=Resources.model_validate(
                {"log_every_steps": 1, "checkpoint_every_steps": 5} | resources
            ),
        )
        fit(
            context,
            self.training.start,
            planted,
            self.training.data,
            self.training.optimizer.model_copy(update={"watch": watch}),
            EarlyEvaluation(planted.factory.corpus, tuple(held_out)),
        )
        return Finished(self.folder, self.training).losses

    @property
    def log(self) -> str:
        return "\n".join(self.said)


@pytest.mark.parametrize(
    ("strategy", "policy"),
    [
        ("ddp", "skip"),
        ("fsdp2", "roll_back"),
        pytest.param("fsdp2", "skip", marks=pytest.mark.drill),
        pytest.param("zero2", "skip", marks=pytest.mark.drill),
        pytest.param("zero3", "roll_back", marks=pytest.mark.drill),
    ],
)
def test_two_workers_do_about_a_nan_clip_what_one_does(
    training: Training, tmp_path: Path, strategy: str, policy: Any
) -> None:
    planted = Planted(supervised(training), nan_example=int(training.plan[BAD_STEP][3]))
    (source,) = supervised(training).examples[planted.nan_example][0].clip_ids
    watch = WatchRecipe(policy=policy)
    alone = Watched(tmp_path / "alone", training)
    together = Watched(tmp_path / "together", training)
    expected = alone.run(1, planted, watch)
    found = together.run(2, planted, watch, strategy=strategy)
    assert found == pytest.approx(expected, rel=0, abs=1e-5)
    assert len(found) == (STEPS - 1 if policy == "skip" else STEPS)
    named = [line for line in together.said if f"step {BAD_STEP}: the loss is nan" in line]
    print("\n".join(named))
    assert {f"worker {rank}, " in line for rank in (0, 1) for line in named} >= {True}
    assert len(named) == 2, "each worker names its examples"
    (blamed,) = [line for line in named if "bad by itself" in line]
    assert f"clips ['{source}'] in ['" in blamed


@pytest.mark.parametrize(
    "strategy", ["ddp", *(pytest.param(s, marks=pytest.mark.drill) for s in ("fsdp2", "zero3"))]
)
def test_a_step_with_fewer_examples_than_workers_after_a_roll_back_is_trained_with_these(
    training: Training, tmp_path: Path, strategy: str
) -> None:
    plan = training.plan.copy()
    bad, left = plan[BAD_STEP][1:3].tolist()
    plan[BAD_STEP] = [bad] * 3 + [left] + [bad] * 2
    planted = Planted(supervised(training), nan_example=bad)
    losses, said = [], []
    for workers in (1, 2):
        watched = Watched(tmp_path / str(workers), replace(training, plan=plan))
        policy = WatchRecipe(policy="roll_back")
        losses.append(watched.run(workers, planted, policy, strategy=strategy))
        said += watched.said
    assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-5)
    assert len(losses[0]) == STEPS, "no step is left out"
    assert said.count("audit: every planned example was consumed once") == 2


def test_a_worker_that_stalls_makes_all_workers_say_where_they_are(
    training: Training, tmp_path: Path
) -> None:
    watched = Watched(tmp_path, training)
    planted = Planted(supervised(training), stall_at=(6, 1))
    with pytest.raises(GroupFailedError) as failure:
        watched.run(2, planted, WatchRecipe(), stall_seconds=1)
    assert failure.value.codes == [1, 1]
    assert "StallError: worker 1 is in step 6 for more than 1 s" in failure.value.logs[1]
    for rank, place in enumerate(["all_reduce", "stand_still_in_a_planted_place"]):
        (line,) = [text for text in watched.said if f"worker {rank} is in step 6" in text]
        assert place in line


@pytest.mark.parametrize("strategy", ["fsdp2", pytest.param("zero3", marks=pytest.mark.drill)])
def test_early_evaluation_of_a_model_in_shares_is_that_of_a_whole_one(
    training: Training, alone: Finished, tmp_path: Path, strategy: str
) -> None:
    planted = Planted(supervised(training))
    losses = []
    for workers in (1, 2):
        watched = Watched(tmp_path / str(workers), training)
        found = watched.run(
            workers, planted, WatchRecipe(), strategy=strategy, early_evaluation_every_steps=8
        )
        assert found == pytest.approx(alone.losses, rel=0, abs=1e-5)
        losses.append([line for line in watched.said if line.startswith("held-out loss after")])
    assert [line.split(":")[0] for line in losses[0]] == [
        "held-out loss after step 8",
        "held-out loss after step 16",
    ]
    assert losses[0] == losses[1]
