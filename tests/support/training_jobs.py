"""A small training job over real recordings, whose objective writes down what it is given."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.training_choices import StrategyName
from infra.compute.interface import Compute, Worker
from infra.compute.resources import Resources
from infra.storage.store import Store
from model.checkpoints.checkpoint import load_checkpoint
from model.tuning import TuningRecipe
from tasks.training.data_plan import DataPlan
from tasks.training.fit import FINAL_STATE, StartingPoint, fit
from tasks.training.job import ObjectiveFactory
from tasks.training.objective import (
    ExampleSource,
    MicroBatch,
    Objective,
    ObjectiveModule,
    StepOutcome,
)
from tasks.training.recipe import OptimizerRecipe
from tasks.training.split import Load
from tasks.training.strategies.choice import open_strategy
from tests.support.recordings import stage_context
from tests.support.worker_processes import Processes

STEPS = 20
TEXT_ONLY_STEP = 7
EXAMPLES_PER_STEP = 6


@dataclass(frozen=True)
class Incident:
    """What befalls one worker when it prepares a step."""

    step: int
    rank: int
    error: str = ""
    """Raised where there is one; otherwise the process is killed with SIGKILL."""


@dataclass(frozen=True)
class AuditedFactory:
    """Builds the supervised objective, watched."""

    factory: ObjectiveFactory
    folder: Path
    incident: Incident | None = None

    def __call__(self, processor: Qwen2AudioProcessor) -> "AuditedObjective":
        return AuditedObjective(self, self.factory(processor))


class AuditedObjective:
    """Writes a line for every micro-batch: its step, the group's size, the examples."""

    def __init__(self, parts: AuditedFactory, inner: Objective) -> None:
        self._parts = parts
        self._inner = inner
        self._rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0

    def loads(self, examples: Sequence[int]) -> list[Load]:
        return self._inner.loads(examples)

    def sources(self, examples: Sequence[int]) -> list[ExampleSource]:
        return self._inner.sources(examples)

    def prepare(self, examples: Sequence[int], step: int) -> MicroBatch:
        incident = self._parts.incident
        if incident is not None and (step, self._rank) == (incident.step, incident.rank):
            if incident.error:
                raise ValueError(incident.error)
            os.kill(os.getpid(), signal.SIGKILL)
        line = json.dumps({"step": step, "rank": self._rank, "examples": list(examples)})
        with (self._parts.folder / "audit.jsonl").open("a") as audit:
            audit.write(line + "\n")
        return self._inner.prepare(examples, step)

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch
    ) -> StepOutcome:
        return self._inner.outcome(model, prepared)


def data_plan(plan: np.ndarray, pools: np.ndarray) -> DataPlan:
    """A plan whose examples are wanted equally often."""
    return DataPlan(plan, pools, shares=np.full(len(pools), 1 / len(pools)))


@dataclass(frozen=True)
class Training:
    """How `fit` is asked; `run` carries it out in a folder."""

    initial: Store
    factory: ObjectiveFactory
    plan: np.ndarray
    optimizer: OptimizerRecipe
    tuning: TuningRecipe
    resources: Mapping[str, Any] = field(default_factory=dict)
    num_workers: int = 1

    def run(
        self, folder: Path, incident: Incident | None = None, compute: Compute | None = None
    ) -> "Finished":
        """Begin in `folder`, or continue what lies there."""
        folder.mkdir(parents=True, exist_ok=True)
        context = replace(
            stage_context(folder / "artifact"),
            compute=compute or Processes(folder / "groups", self.num_workers),
            resources=Resources.model_validate(
                {"log_every_steps": 1, "checkpoint_every_steps": 5} | dict(self.resources)
            ),
        )
        objective = AuditedFactory(self.factory, folder, incident)
        fit(context, self.start, objective, self.data, self.optimizer)
        return Finished(folder, self)

    @property
    def start(self) -> StartingPoint:
        return StartingPoint(self.initial, self.tuning)

    @property
    def data(self) -> DataPlan:
        """Examples are drawn at will: each is a pool of its own."""
        return data_plan(self.plan, np.arange(int(self.plan.max()) + 1, dtype=np.int32))

    def under(self, num_workers: int, **resources: Any) -> "Training":
        """The same with other resources."""
        return replace(self, num_workers=num_workers, resources=resources)


@dataclass(frozen=True)
class Finished:
    """What a training left in its folder."""

    folder: Path
    training: Training

    @property
    def history(self) -> list[dict[str, float]]:
        store = Store(str(self.folder / "artifact"))
        history = json.loads(store.read_text(f"{FINAL_STATE}/history.json"))
        return [entry["metrics"] for entry in history]

    @property
    def losses(self) -> list[float]:
        return [metrics["loss"] for metrics in self.history]

    @property
    def norms(self) -> list[float]:
        """Of the gradient of each step, before it is clipped."""
        return [metrics["gradient_norm"] for metrics in self.history]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of the exported model."""
        found: dict[str, Tensor] = load_file(self.folder / "artifact/checkpoint/model.safetensors")
        return found

    @property
    def consumed(self) -> dict[int, list[list[int]]]:
        """Step -> the micro-batches of it that were prepared, by any worker at any time."""
        found: dict[int, list[list[int]]] = {}
        for line in (self.folder / "audit.jsonl").read_text().splitlines():
            row = json.loads(line)
            found.setdefault(row["step"], []).append(row["examples"])
        return found


def refuse_a_step(training: Training, strategy: StrategyName, worker: Worker) -> None:
    """A loop that refuses its first step: no weight may change; the second one it accepts."""
    with training.initial.local_folder("", Path("/nowhere")) as folder:
        model, processor = load_checkpoint(folder)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    objective = training.factory(processor)
    module = ObjectiveModule(model.train(), objective, "float32")
    opened = open_strategy(strategy, module, training.optimizer, worker, None)
    norms = []

    def accept(norm: float) -> bool:
        norms.append(norm)
        return len(norms) > 1

    mine = [objective.prepare([int(i)], 0) for i in training.plan[0, worker.rank :: 2]]
    for accepted in (False, True):
        opened.backward(mine, 0.01)
        opened.step(0.1, accept)
        trained = opened.trained()
        if trained is not None:
            same = all(torch.equal(w, before[n]) for n, w in trained["parameters"].items())
            assert same != accepted
            steps = {float(values.get("step", 0)) for values in trained["optimizer"].values()}
            assert steps == {float(accepted)}
    assert norms == pytest.approx(norms[:1] * 2)
