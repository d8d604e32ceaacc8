"""What a worker is given to train, and the files of the artifact that it makes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.digest import digest_of, digest_of_bytes
from infra.compute.resources import Resources
from infra.storage.store import Store
from model.checkpoints.checkpoint import check_hears, load_checkpoint
from model.tuning import TuningRecipe, apply_tuning
from tasks.context import StageLogger
from tasks.training.checkpoints.folder import FINAL_STATE as FINAL_STATE
from tasks.training.held_out import ExaminerFactory
from tasks.training.objective import Objective
from tasks.training.recipe import OptimizerRecipe

CHECKPOINT = "checkpoint"
"""The folder of an artifact that opens with `from_pretrained`."""
PARITY = "parity.json"
"""How far the export, here and in transformers, is from the model that was trained."""

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
    pools: np.ndarray
    """int32 [examples]: which of them the plan takes in turn, each once an epoch."""
    objective: ObjectiveFactory
    optimizer: OptimizerRecipe
    tuning: TuningRecipe
    logger: StageLogger
    resources: Resources
    scratch: Path
    held_out: ExaminerFactory | None

    def identity(self, processor: Qwen2AudioProcessor) -> dict[str, str]:
        """What a training state belongs to. Its step is a position in the rows of the plan."""
        recipes = [recipe.model_dump(mode="json") for recipe in (self.optimizer, self.tuning)]
        return {
            "recipe": digest_of(recipes),
            "data plan": digest_of_bytes(self.plan.tobytes()),
            "tokenizer": digest_of_bytes(processor.tokenizer.backend_tokenizer.to_str().encode()),
        }

    def open_initial(self) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
        """The checkpoint to begin with, ready to be trained."""
        with self.initial.local_folder("", self.scratch) as folder:
            model, processor = load_checkpoint(folder)
        check_hears(model, processor)
        apply_tuning(model, self.tuning, self.optimizer.seed)
        return model, processor
