"""Stage 2: multi-task pre-training with natural-language prompts in place of task tags."""

from tasks.context import StageContext, StageResult
from tasks.conversations.task_table import TaskTable
from tasks.corpus.artifact import read_tasks
from tasks.corpus.index import CorpusIndex
from tasks.evaluation.early import pick_held_out
from tasks.objectives.alignment import AlignmentRecipe, align
from tasks.objectives.supervised import SupervisedRecipe, fit_supervised
from tasks.training.fit import CHECKPOINT
from tasks.training_data.examples import ClipTable, completion_examples
from tasks.training_data.mixture import Mixture


class PretrainRecipe(SupervisedRecipe):
    """Everything that changes the pre-trained weights."""

    alignment: AlignmentRecipe | None = None
    """What encoder and projector learn before the answers; None: nothing."""
    mixture: Mixture = Mixture()
    """How often each task, language and corpus is drawn; empty: all that the corpus has."""

    def check_tasks(self, tasks: TaskTable) -> None:
        """Refuse weights and letters of tasks that are not in the table.

        Raises:
            TaskError: with the known names and how to declare another.
        """
        tasks.require(self.mixture.tasks, "pretrain.mixture")
        tasks.require(self.letters, "pretrain.letters")


def run(context: StageContext, recipe: PretrainRecipe) -> StageResult:
    """Train the checkpoint on the corpus's train split."""
    tasks = read_tasks(context.inputs["corpus"])
    recipe.check_tasks(tasks)
    index = CorpusIndex(context.inputs["corpus"])
    initial = context.inputs["checkpoint"].below(CHECKPOINT)
    clips = ClipTable.of(index, tasks)
    training_set = completion_examples(index, clips, tasks, recipe.prompts)
    if recipe.alignment:
        initial = align(context, initial, training_set, recipe.alignment, recipe.damage)
    asked = frozenset(recipe.mixture.tasks or tasks.asked_in_words)
    held_out = pick_held_out(context.inputs["corpus"], recipe.optimizer.seed, recipe.letters, asked)
    return fit_supervised(context, initial, training_set, recipe.mixture, recipe, held_out)
