"""Stage 3: supervised fine-tuning on dialogues of both modes, mixed and never announced."""

from typing import get_args

from pydantic import field_validator

from data_contracts.records import Task
from tasks.context import StageContext, StageResult
from tasks.conversations.dialogues import DIALOGUE_TASKS
from tasks.corpus.index import CorpusIndex
from tasks.evaluation.early import pick_held_out
from tasks.objectives.supervised import SupervisedRecipe, fit_supervised
from tasks.training.fit import CHECKPOINT
from tasks.training_data.examples import ClipTable, completion_examples, dialogue_examples
from tasks.training_data.mixture import Mixture

REPLAY = "replay:"
"""Prefix of pre-training tasks in the mixture: they keep what the dialogues do not practise."""


class SftRecipe(SupervisedRecipe):
    """Everything that changes the fine-tuned weights."""

    mixture: Mixture
    """How often each is drawn: dialogue tasks, or `replay:` and a pre-training task."""

    @field_validator("mixture")
    @classmethod
    def _check_names(cls, mixture: Mixture) -> Mixture:
        names = mixture.tasks
        unknown = [name for name in names if name.removeprefix(REPLAY) not in get_args(Task)]
        if wrong := sorted(set(unknown) - set(DIALOGUE_TASKS)):
            raise ValueError(
                f"there is no task {wrong}: use {', '.join((*get_args(Task), *DIALOGUE_TASKS))}, "
                f"or {REPLAY} and a pre-training task"
            )
        return mixture


def run(context: StageContext, recipe: SftRecipe) -> StageResult:
    """Fine-tune on the train split's dialogues, with replayed pre-training examples."""
    corpus = context.inputs["corpus"]
    index = CorpusIndex(corpus)
    clips = ClipTable.of(index)
    replayed = completion_examples(index, clips, recipe.prompts)
    dialogues = dialogue_examples(corpus, index, clips)
    training_set = replayed.with_tasks(lambda task: REPLAY + task) + dialogues
    held_out = pick_held_out(corpus, recipe.optimizer.seed, recipe.letters)
    initial = context.inputs["checkpoint"].below(CHECKPOINT)
    return fit_supervised(context, initial, training_set, recipe.mixture, recipe, held_out)
