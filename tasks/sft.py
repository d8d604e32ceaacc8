"""Stage 3: supervised fine-tuning on dialogues of both modes, mixed and never announced."""

from tasks.context import StageContext, StageResult
from tasks.conversations.task_table import COMBINED, DIALOGUE_TASKS, REPLAY, TaskTable
from tasks.corpus.artifact import read_tasks
from tasks.corpus.index import CorpusIndex
from tasks.evaluation.early import pick_held_out
from tasks.objectives.supervised import SupervisedRecipe, fit_supervised
from tasks.training.fit import CHECKPOINT
from tasks.training_data.examples import ClipTable, completion_examples, dialogue_examples
from tasks.training_data.mixture import Mixture


class SftRecipe(SupervisedRecipe):
    """Everything that changes the fine-tuned weights."""

    mixture: Mixture = Mixture()
    """How often each task is drawn: a task of dialogues, or `replay:` and a pre-training task.
    Empty: all that dialogues ask for, and the users' own; `multi_turn`, `two_clips` and what is
    replayed only where they are named."""

    def check_tasks(self, tasks: TaskTable) -> None:
        """Refuse weights and letters of tasks that are neither in the table nor of dialogues.

        Raises:
            TaskError: with the known names and how to declare another.
        """
        single = set(self.mixture.tasks) - set(DIALOGUE_TASKS)
        tasks.require(
            (name.removeprefix(REPLAY) for name in single),
            f"sft.mixture, where {', '.join(DIALOGUE_TASKS)} and {REPLAY} before a task are known "
            "too",
        )
        tasks.require(self.letters, "sft.letters")


def run(context: StageContext, recipe: SftRecipe) -> StageResult:
    """Fine-tune on the train split's dialogues, with replayed pre-training examples."""
    corpus = context.inputs["corpus"]
    tasks = read_tasks(corpus)
    recipe.check_tasks(tasks)
    index = CorpusIndex(corpus)
    clips = ClipTable.of(index, tasks)
    replayed = completion_examples(index, clips, tasks, recipe.prompts)
    dialogues = dialogue_examples(corpus, index, clips)
    training_set = replayed.with_tasks(lambda task: REPLAY + task) + dialogues
    held_out = pick_held_out(corpus, recipe.optimizer.seed, recipe.letters)
    initial = context.inputs["checkpoint"].below(CHECKPOINT)
    mixture = recipe.mixture.over(set(dialogues.table.task.names) - COMBINED)
    return fit_supervised(context, initial, training_set, mixture, recipe, held_out)
