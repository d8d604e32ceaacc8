"""Trains a checkpoint on a group of workers: what pre-training, fine-tuning and DPO share.

An objective is a function from examples to a loss; `loop.py` distributes, steps, logs and
saves. Every random number of a step is drawn from a generator seeded by (recipe seed, step,
example), so the random state at a position *is* the position: a run that continues from a
checkpoint, on any number of workers, sees the numbers that an uninterrupted one sees.
"""

import json
from functools import partial

from data_contracts import conversation_contracts as contracts
from data_contracts import conversation_tables as tables
from data_contracts.contract_result import ContractResult
from data_contracts.validation import validate
from infra.storage.store import Store
from tasks.context import StageContext
from tasks.training.checkpoints.folder import POSITION
from tasks.training.data_plan import DataPlan
from tasks.training.guards.audit import check_epochs
from tasks.training.held_out import ExaminerFactory
from tasks.training.job import (
    CHECKPOINT,
    FINAL_STATE,
    PARITY,
    ObjectiveFactory,
    StartingPoint,
    TrainingJob,
)
from tasks.training.loop import train
from tasks.training.messages.driver import announcing
from tasks.training.recipe import OptimizerRecipe

__all__ = ["CHECKPOINT", "FINAL_STATE", "PARITY", "StartingPoint", "check", "fit", "headline"]

_HEADLINE = ("loss", "held_out_loss", "reward_accuracy")
"""Metrics by which trainings are compared."""


def fit(
    context: StageContext,
    start: StartingPoint,
    objective: ObjectiveFactory,
    data: DataPlan,
    optimizer: OptimizerRecipe,
    held_out: ExaminerFactory | None = None,
) -> None:
    """Train a checkpoint on the context's workers.

    Args:
        context: its directory gets `checkpoint/` and `training_state/`.
        objective: called on each worker.
        data: which examples each step takes.
        optimizer: with as many steps as `data` has.
        held_out: makes the early evaluation, where there is one.

    Raises:
        AuditError: the plan has no exact epochs, or was not what the workers computed.
    """
    check_epochs(data)
    job = TrainingJob(
        start=start,
        directory=context.directory,
        objective=objective,
        data=data,
        optimizer=optimizer,
        logger=context.logger,
        resources=context.resources,
        scratch=context.scratch,
        held_out=held_out,
    )
    with announcing(context):
        context.compute.fit(partial(train, job))


def headline(directory: Store) -> dict[str, float]:
    """Read the last training loss, and what else of `_HEADLINE` was measured."""
    last = json.loads(directory.read_text(f"{FINAL_STATE}/{POSITION}"))["metrics"]
    return {name: last[name] for name in _HEADLINE if name in last}


def check(directory: Store) -> list[ContractResult]:
    """Check the contract of the metrics that a training has logged."""
    history = json.loads(directory.read_text(f"{FINAL_STATE}/history.json"))
    return [validate(contracts.TRAINING, tables.training_frame(history), "training history")]
