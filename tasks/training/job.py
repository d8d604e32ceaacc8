"""Holds `TrainingJob`: what a worker needs to train, and names of the files that it writes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.digest import digest_of, digest_of_bytes
from infra.compute.resources import Resources
from infra.storage.store import Store
from model.checkpoints.checkpoint import check_hears, load_checkpoint
from model.tuning import TuningRecipe, apply_tuning
from tasks.context import CHECKPOINT as CHECKPOINT
from tasks.context import StageLogger
from tasks.training.checkpoints.folder import FINAL_STATE as FINAL_STATE
from tasks.training.data_plan import DataPlan
from tasks.training.held_out import ExaminerFactory
from tasks.training.objective import Objective
from tasks.training.recipe import OptimizerRecipe

ADAPTER = "adapter"
"""The folder of an artifact that opens with `PeftModel.from_pretrained`, with the checkpoint that
the training began with as its base."""
PARITY = "parity.json"
"""How far the export, here and in transformers, is from the model that was trained."""

ObjectiveFactory = Callable[[Qwen2AudioProcessor], Objective]


@dataclass(frozen=True)
class StartingPoint:
    """What a training starts from."""

    checkpoint: Store
    """The folder of a checkpoint."""
    tuning: TuningRecipe
    """Which of its parts learn, and how."""


@dataclass(frozen=True)
class TrainingJob:
    """Everything that a worker needs; it pickles."""

    start: StartingPoint
    directory: Store
    """The artifact's folder."""
    objective: ObjectiveFactory
    data: DataPlan
    optimizer: OptimizerRecipe
    logger: StageLogger
    resources: Resources
    scratch: Path
    held_out: ExaminerFactory | None

    def identity(self, processor: Qwen2AudioProcessor) -> dict[str, str]:
        """Digest what a training state belongs to; its step is a row of the plan."""
        recipes = [recipe.model_dump(mode="json") for recipe in (self.optimizer, self.start.tuning)]
        return {
            "recipe": digest_of(recipes),
            "data plan": digest_of_bytes(self.data.plan.tobytes()),
            "tokenizer": digest_of_bytes(processor.tokenizer.backend_tokenizer.to_str().encode()),
        }

    def open_initial(self) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
        """Load the checkpoint to begin with, ready to be trained."""
        with self.start.checkpoint.local_folder("", self.scratch) as folder:
            model, processor = load_checkpoint(folder)
        check_hears(model, processor)
        apply_tuning(model, self.start.tuning, self.optimizer.seed)
        return model, processor
