"""The training loop that pre-training, fine-tuning and DPO share.

An objective is a function from examples to a loss; the loop plans, distributes, steps, logs and
saves. Every random number of a step is drawn from a generator seeded by (recipe seed, step,
example), so the random state at a position *is* the position: a run that continues from a
checkpoint, on any number of workers, sees the numbers that an uninterrupted one sees.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts import suites as contracts
from data_contracts import tables
from data_contracts.contract import ContractResult, validate
from infra.compute import Worker
from infra.store import Store
from model.checkpoint import check_hears, load_checkpoint, save_checkpoint
from tasks.context import MetricLogger, StageContext
from tasks.training_state import TrainingState, load_state, save_state

CHECKPOINT = "checkpoint"
"""The folder of an artifact that opens with `from_pretrained`."""
FINAL_STATE = "training_state"


class OptimizerRecipe(BaseModel):
    """AdamW with linear warm-up and linear decay to zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1, description="optimizer steps")
    examples_per_step: int = Field(ge=1, description="examples in a step, over all workers")
    learning_rate: float = Field(gt=0, description="highest learning rate")
    warmup_steps: int = Field(ge=0, description="steps until the highest learning rate")
    weight_decay: float = Field(0.02, ge=0, description="decoupled weight decay of matrices")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * left


@dataclass(frozen=True)
class StepOutcome:
    """What an objective makes of some examples."""

    loss: Tensor
    """Sum over whatever the loss is averaged over, with gradient."""
    weight: float
    """How many terms the sum has."""
    counts: Mapping[str, float]
    """Sums that are added over workers: `tokens`, `audio_seconds`, metrics of the objective."""


class Objective(Protocol):
    """Built on each worker from picklable parts."""

    def costs(self, examples: Sequence[int]) -> list[float]:
        """How much work each example is, in any unit, for an even split over workers."""
        ...

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, examples: Sequence[int], step: int, /
    ) -> StepOutcome:
        """The loss over some examples of a step."""
        ...


ObjectiveFactory = Callable[[Qwen2AudioProcessor], Objective]


@dataclass(frozen=True)
class TrainingJob:
    """Everything a worker needs."""

    initial: Store
    """Folder of the checkpoint to begin with."""
    directory: Store
    """The artifact's folder."""
    plan: np.ndarray
    """int64 [steps, examples_per_step]: which examples each step takes."""
    objective: ObjectiveFactory
    optimizer: OptimizerRecipe
    logger: MetricLogger
    checkpoint_every_steps: int
    log_every_steps: int
    scratch: Path


def fit(
    context: StageContext,
    initial: Store,
    objective: ObjectiveFactory,
    plan: np.ndarray,
    optimizer: OptimizerRecipe,
) -> dict[str, float]:
    """Train a checkpoint on the context's workers; returns the last logged metrics.

    Args:
        context: its directory gets `checkpoint/` and `training_state/`.
        initial: folder of the checkpoint to begin with.
        objective: called on each worker.
        plan: int64 [steps, examples_per_step], which examples each step takes.
        optimizer: the recipe.
    """
    job = TrainingJob(
        initial=initial,
        directory=context.directory,
        plan=plan,
        objective=objective,
        optimizer=optimizer,
        logger=context.logger,
        checkpoint_every_steps=context.resources.checkpoint_every_steps,
        log_every_steps=context.resources.log_every_steps,
        scratch=context.scratch,
    )
    context.compute.fit(partial(train, job))
    history = json.loads(job.directory.read_text(f"{FINAL_STATE}/history.json"))
    return dict(history[-1]["metrics"]) if history else {}


def train(job: TrainingJob, worker: Worker) -> None:
    """The loop of one worker, from the last checkpoint to the exported model.

    Raises:
        FloatingPointError: the loss is not finite; the step's examples are named.
    """
    with job.initial.local_folder("", job.scratch) as folder:
        model, processor = load_checkpoint(folder)
    check_hears(model, processor)
    model.train()
    objective = job.objective(processor)
    optimizer = _adamw(model, job.optimizer)
    state = load_state(job.directory, model, optimizer)
    if worker.rank == 0:
        for entry in state.history:
            job.logger.metrics(entry["metrics"], entry["step"])
    module = _distribute(_ObjectiveModule(model, objective), worker)
    meter = _Meter(worker)
    while state.step < job.optimizer.steps:
        step = state.step
        examples = [int(i) for i in job.plan[step]]
        mine = share(examples, objective.costs(examples), worker)
        loss, norm = _optimizer_step(module, optimizer, mine, step, job.optimizer, meter)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss of step {step} is {loss}; its examples on worker {worker.rank} are "
                f"{mine}. Look at them with the plan of the stage, or lower the learning rate."
            )
        state.step += 1
        if state.step % job.log_every_steps == 0 or state.step == job.optimizer.steps:
            metrics = meter.read() | {
                "learning_rate": job.optimizer.rate(step),
                "gradient_norm": norm,
            }
            if worker.rank == 0:
                state.history.append({"step": state.step, "metrics": metrics})
                job.logger.metrics(metrics, state.step)
        last = state.step == job.optimizer.steps
        if worker.rank == 0 and (last or state.step % job.checkpoint_every_steps == 0):
            save_state(job.directory, model, optimizer, state)
    if worker.rank == 0:
        _export(job, model.eval(), processor, state, optimizer)
    if worker.world_size > 1:
        distributed.barrier()


def share(examples: Sequence[int], costs: Sequence[float], worker: Worker) -> list[int]:
    """The part of a step's examples that is this worker's.

    Longest first to the worker with the least work so far: every worker gets an example as long
    as there are as many examples as workers, and finishes at about the same time.

    Raises:
        ValueError: there are fewer examples than workers, and one would have nothing to do.
    """
    if len(examples) < worker.world_size:
        raise ValueError(
            f"a step has {len(examples)} examples for {worker.world_size} workers. Raise "
            "examples_per_step or lower resources.num_workers."
        )
    loads = [(0.0, rank) for rank in range(worker.world_size)]
    mine = []
    for cost, example in sorted(zip(costs, examples, strict=True), reverse=True):
        load, rank = min(loads)
        loads[rank] = (load + max(cost, 1e-9), rank)
        if rank == worker.rank:
            mine.append(example)
    return mine


class _ObjectiveModule(nn.Module):
    """A module whose forward is the objective, as DistributedDataParallel needs it."""

    def __init__(self, model: Qwen2AudioForConditionalGeneration, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(
        self, examples: Sequence[int], step: int, counts: dict[str, float]
    ) -> tuple[Tensor, float]:
        outcome = self._objective.outcome(self.model, examples, step)
        counts.update(outcome.counts)
        return outcome.loss, outcome.weight


class _Meter:
    """Adds up losses and counts over workers and steps, and times them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._reset()

    def add(self, loss: float, weight: float, counts: Mapping[str, float]) -> tuple[float, float]:
        """Take one worker's sums of a step; returns (loss, weight) over all workers."""
        names = sorted(counts)
        totals = torch.tensor(
            [loss, weight, *(counts[name] for name in names)], dtype=torch.float64
        )
        if self._worker.world_size > 1:
            distributed.all_reduce(totals)
        values = totals.tolist()
        self._loss += values[0]
        self._weight += values[1]
        for name, value in zip(names, values[2:], strict=True):
            self._counts[name] = self._counts.get(name, 0.0) + value
        return values[0], values[1]

    def read(self) -> dict[str, float]:
        """Averages since the last reading."""
        seconds = time.perf_counter() - self._since
        counts = dict(self._counts)
        metrics = {"loss": self._loss / self._weight}
        positions = counts.pop("tokens")
        metrics["padding_waste"] = counts.pop("padding_tokens") / positions
        metrics["tokens_per_second"] = positions / seconds
        metrics["audio_seconds_per_second"] = counts.pop("audio_seconds") / seconds
        metrics |= {name: value / self._weight for name, value in counts.items()}
        self._reset()
        return metrics

    def _reset(self) -> None:
        self._loss = self._weight = 0.0
        self._counts: dict[str, float] = {}
        self._since = time.perf_counter()


def _optimizer_step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: Sequence[int],
    step: int,
    recipe: OptimizerRecipe,
    meter: _Meter,
) -> tuple[float, float]:
    """One step; returns the mean loss over all workers and the gradient's norm before clipping."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(step)
    counts: dict[str, float] = {}
    loss, weight = module(examples, step, counts)
    total_loss, total_weight = meter.add(float(loss.detach()), weight, counts)
    # DistributedDataParallel averages gradients over workers; the loss is a mean over all terms.
    workers = distributed.get_world_size() if isinstance(module, DistributedDataParallel) else 1
    (loss * (workers / total_weight)).backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total_loss / total_weight, float(norm)


def _adamw(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.AdamW:
    """Weight decay on matrices only, as usual: not on biases and norms."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        eps=1e-8,
    )


def _distribute(module: nn.Module, worker: Worker) -> nn.Module:
    return DistributedDataParallel(module) if worker.world_size > 1 else module


def _export(
    job: TrainingJob,
    model: Qwen2AudioForConditionalGeneration,
    processor: Qwen2AudioProcessor,
    state: TrainingState,
    optimizer: torch.optim.Optimizer,
) -> None:
    save_state(job.directory, model, optimizer, state, FINAL_STATE)
    job.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=job.scratch) as folder:
        save_checkpoint(Path(folder), model, processor)
        job.directory.upload(Path(folder), CHECKPOINT)


def check(directory: Store) -> list[ContractResult]:
    """The contract of a checkpoint: the files that `from_pretrained` needs, and finite metrics."""
    history = json.loads(directory.read_text(f"{FINAL_STATE}/history.json"))
    return [validate(contracts.TRAINING, tables.training_frame(history), "training history")]
