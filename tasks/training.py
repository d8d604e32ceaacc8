"""The training loop that pre-training, fine-tuning and DPO share.

An objective is a function from examples to a loss; the loop plans, distributes, steps, logs and
saves. Every random number of a step is drawn from a generator seeded by (recipe seed, step,
example), so the random state at a position *is* the position: a run that continues from a
checkpoint, on any number of workers, sees the numbers that an uninterrupted one sees.
"""

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import distributed
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts import suites as contracts
from data_contracts import tables
from data_contracts.contract import ContractResult, validate
from infra.compute import Loading, StrategyName, Worker
from infra.store import Store
from model.checkpoint import check_hears, load_checkpoint, save_checkpoint
from model.flops import measured_peak
from model.parity import measure_parity
from model.tuning import TuningRecipe, apply_tuning, merge_adapters
from tasks.context import MetricLogger, StageContext
from tasks.loader import Loader
from tasks.optimization import (
    Meter,
    Objective,
    ObjectiveModule,
    OptimizerRecipe,
    add_over_workers,
)
from tasks.strategies.choice import open_strategy
from tasks.strategies.strategy import restore_parameters
from tasks.training_state import Trained, TrainingState, load_state, save_state

CHECKPOINT = "checkpoint"
"""The folder of an artifact that opens with `from_pretrained`."""
FINAL_STATE = "training_state"
PARITY = "parity.json"
"""How far the export, here and in transformers, is from the model that was trained."""
_PROGRESS = "scratch/progress.txt"
_ANNOUNCE_SECONDS = 15.0


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
    tuning: TuningRecipe
    strategy: StrategyName
    logger: MetricLogger
    checkpoint_every_steps: int
    log_every_steps: int
    max_tokens: int
    """Most tokens of a micro-batch."""
    scratch: Path
    loading: Loading = field(default_factory=Loading)


def fit(
    context: StageContext,
    initial: Store,
    objective: ObjectiveFactory,
    plan: np.ndarray,
    optimizer: OptimizerRecipe,
    tuning: TuningRecipe,
) -> dict[str, float]:
    """Train a checkpoint on the context's workers; returns the last logged metrics.

    Args:
        context: its directory gets `checkpoint/` and `training_state/`.
        initial: folder of the checkpoint to begin with.
        objective: called on each worker.
        plan: int64 [steps, examples_per_step], which examples each step takes.
        tuning: which parts of the model learn, and how.
    """
    job = TrainingJob(
        initial=initial,
        directory=context.directory,
        plan=plan,
        objective=objective,
        optimizer=optimizer,
        tuning=tuning,
        strategy=context.resources.strategy,
        logger=context.logger,
        checkpoint_every_steps=context.resources.checkpoint_every_steps,
        log_every_steps=context.resources.log_every_steps,
        max_tokens=context.resources.max_tokens_per_micro_batch,
        loading=context.resources.loading,
        scratch=context.scratch,
    )
    with _announcing(context):
        context.compute.fit(partial(train, job))
    history = json.loads(job.directory.read_text(f"{FINAL_STATE}/history.json"))
    return dict(history[-1]["metrics"]) if history else {}


def train(job: TrainingJob, worker: Worker) -> None:
    """The loop of one worker, from the last checkpoint to the exported model.

    Raises:
        FloatingPointError: the loss is not finite; the step's examples are named.
        ParityError: the export answers otherwise than the trained model.
    """
    with ExitStack() as stack:
        _train(job, worker, stack)


def _train(job: TrainingJob, worker: Worker, stack: ExitStack) -> None:
    model, processor = _open(job)
    objective = job.objective(processor)
    state, saved = load_state(job.directory)
    if worker.rank == 0:
        for entry in state.history:
            job.logger.metrics(entry["metrics"], entry["step"])
    module = ObjectiveModule(model.train(), objective, job.optimizer.precision)
    strategy = open_strategy(job.strategy, module, job.optimizer, worker, saved)
    meter = Meter(worker, state.window, measured_peak(model.device, job.optimizer.dtype))
    loader = Loader(job.plan, objective, worker, job.max_tokens, job.loading, state.step)
    for loaded in stack.enter_context(loader):
        step, batches = loaded.step, loaded.micro_batches
        weight = sum(batch.weight for batch in batches)
        weight = add_over_workers({"weight": weight}, worker)["weight"]
        if not weight:
            raise ValueError(
                f"step {step} has nothing to learn from: all its examples were skipped. Raise "
                "examples_per_step, or repair the corpus."
            )
        waited = {"data_wait": loaded.seconds_waited}
        sums = meter.add(strategy.backward(batches, worker.world_size / weight) | waited)
        loss = sums["loss"] / weight
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss of step {step} is {loss}; its examples on worker {worker.rank} are "
                f"{loaded.examples}. Look at them with the plan of the stage, or lower the "
                "learning rate."
            )
        norm = strategy.step(job.optimizer.rate(step), math.isfinite)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient of step {step} has the norm {norm}; lower the learning rate."
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
                job.directory.write_text(_PROGRESS, _in_a_line(state.step, job.optimizer, metrics))
        last = state.step == job.optimizer.steps
        if last or state.step % job.checkpoint_every_steps == 0:
            trained = strategy.trained()
            if trained is not None:
                state.window = meter.window
                save_state(job.directory, trained, state)
    trained = strategy.trained()
    if trained is not None:
        _export(job, trained, state)
    if worker.world_size > 1:
        distributed.barrier()


def _open(job: TrainingJob) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
    """The checkpoint to begin with, ready to be trained."""
    with job.initial.local_folder("", job.scratch) as folder:
        model, processor = load_checkpoint(folder)
    check_hears(model, processor)
    apply_tuning(model, job.tuning, job.optimizer.seed)
    return model, processor


@contextmanager
def _announcing(context: StageContext) -> Iterator[None]:
    """Tell every few seconds what the workers, whose output goes elsewhere, have reached."""
    ended = threading.Event()

    def watch() -> None:
        last = ""
        while not ended.wait(_ANNOUNCE_SECONDS):
            if context.directory.exists(_PROGRESS):
                reached = context.directory.read_text(_PROGRESS)
                if reached != last:
                    context.progress(reached)
                last = reached

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _in_a_line(step: int, recipe: OptimizerRecipe, metrics: Mapping[str, float]) -> str:
    return (
        f"step {step} of {recipe.steps}, loss {metrics['loss']:.3f}, "
        f"gradient norm {metrics['gradient_norm']:.2f}, "
        f"{metrics['audio_seconds_per_second']:.0f} s of audio a second, "
        f"{metrics['share_of_peak']:.0%} of peak"
    )


def _export(job: TrainingJob, trained: Trained, state: TrainingState) -> None:
    """Write the state and the whole model, put together from what began and what was trained."""
    save_state(job.directory, trained, state, FINAL_STATE)
    model, processor = _open(job)
    restore_parameters(model, trained["parameters"])
    merge_adapters(model)
    job.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=job.scratch) as folder:
        save_checkpoint(Path(folder), model, processor)
        parity = measure_parity(model, processor, Path(folder))
        job.directory.upload(Path(folder), CHECKPOINT)
    job.directory.write_text(PARITY, json.dumps(asdict(parity), indent=2))


def check(directory: Store) -> list[ContractResult]:
    """The contract of a checkpoint: the files that `from_pretrained` needs, and finite metrics."""
    history = json.loads(directory.read_text(f"{FINAL_STATE}/history.json"))
    return [validate(contracts.TRAINING, tables.training_frame(history), "training history")]
