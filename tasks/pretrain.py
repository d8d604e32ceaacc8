"""Stage 2: multi-task pre-training with natural-language prompts in place of task tags."""

from typing import get_args

from pydantic import field_validator

from data_contracts.records import Task
from model.checkpoints.construct import ModelRecipe
from tasks.context import StageContext, StageResult
from tasks.corpus.index import CorpusIndex
from tasks.evaluation.early import pick_held_out
from tasks.initial_model.build import InitialRecipe, WeightSource, build_initial
from tasks.objectives.alignment import AlignmentRecipe, align
from tasks.objectives.supervised import SupervisedRecipe, fit_supervised
from tasks.training_data.examples import ClipTable, completion_examples
from tasks.training_data.mixture import Mixture


class PretrainRecipe(SupervisedRecipe):
    """Everything that changes the pre-trained weights."""

    model: InitialRecipe = ModelRecipe()
    """What the model is made of at first: from scratch, of two towers, or released."""
    alignment: AlignmentRecipe | None = None
    """What encoder and projector learn before the answers; None: nothing."""
    mixture: Mixture
    """How often each task, language and corpus is drawn."""

    @field_validator("mixture")
    @classmethod
    def _check_names(cls, mixture: Mixture) -> Mixture:
        if wrong := sorted(set(mixture.tasks) - set(get_args(Task))):
            raise ValueError(f"there is no task {wrong}: use {', '.join(get_args(Task))}")
        return mixture


def run(
    context: StageContext, recipe: PretrainRecipe, source: WeightSource | None = None
) -> StageResult:
    """Build the initial checkpoint and train it on the corpus's train split.

    Args:
        source: the pre-trained weights, where the recipe begins with some.
    """
    index = CorpusIndex(context.inputs["corpus"])
    initial = build_initial(context, recipe.model, source, index, recipe.prompts)
    training_set = completion_examples(index, ClipTable.of(index), recipe.prompts)
    if recipe.alignment:
        initial = align(context, initial, training_set, recipe.alignment, recipe.damage)
    asked = frozenset(recipe.mixture.tasks)
    held_out = pick_held_out(context.inputs["corpus"], recipe.optimizer.seed, recipe.letters, asked)
    return fit_supervised(context, initial, training_set, recipe.mixture, recipe, held_out)
