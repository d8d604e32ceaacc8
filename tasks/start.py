"""The checkpoint that a run starts from: random weights, pre-trained towers, a released model."""

from pathlib import Path
from tempfile import TemporaryDirectory

from data_contracts.contract_result import ContractResult
from infra.storage.store import Store
from model.checkpoints.checkpoint import save_checkpoint
from tasks.context import StageContext, StageResult
from tasks.initial_model.build import StartRecipe, WeightSource, build_initial
from tasks.training.job import CHECKPOINT
from tasks.training.mlflow_model import write_mlflow_model


def run(
    context: StageContext, recipe: StartRecipe, source: WeightSource | None = None
) -> StageResult:
    """Write the checkpoint, in the same layout as those that are trained.

    Args:
        source: pre-trained weights, where the recipe begins with some.
    """
    model, processor = build_initial(context, recipe, source)
    context.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=context.scratch) as folder:
        save_checkpoint(Path(folder), model, processor)
        write_mlflow_model(Path(folder))
        context.directory.delete(CHECKPOINT)
        context.directory.upload(Path(folder), CHECKPOINT)
    return StageResult(records_in=1, records_out=1)


def check(_: Store) -> list[ContractResult]:
    """Check no table: a checkpoint has none, and every tensor is checked when it is loaded."""
    return []
