"""Stage 3: supervised fine-tuning on dialogues of both modes, mixed and never announced."""

from typing import get_args

from pydantic import Field, field_validator

from data_contracts.records import Task
from tasks.context import StageContext, StageResult
from tasks.dialogues import DIALOGUE_TASKS
from tasks.ingest import DIALOGUES, read_conversations
from tasks.pretrain import completion_examples
from tasks.shards import read_index
from tasks.supervised import SupervisedRecipe, fit_supervised
from tasks.training import CHECKPOINT

REPLAY = "replay:"
"""Prefix of pre-training tasks in the mixture: they keep what the dialogues do not practise."""


class SftRecipe(SupervisedRecipe):
    """Everything that changes the fine-tuned weights."""

    mixture: dict[str, float] = Field(
        description="dialogue task, or `replay:` and a pre-training task -> weight in the draw"
    )

    @field_validator("mixture")
    @classmethod
    def _check_names(cls, mixture: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in mixture if name.removeprefix(REPLAY) not in get_args(Task)]
        if wrong := sorted(set(unknown) - set(DIALOGUE_TASKS)):
            raise ValueError(
                f"there is no task {wrong}: use {', '.join((*get_args(Task), *DIALOGUE_TASKS))}, "
                f"or {REPLAY} and a pre-training task"
            )
        return mixture


def run(context: StageContext, recipe: SftRecipe) -> StageResult:
    """Fine-tune on the train split's dialogues, with replayed pre-training examples."""
    corpus = context.inputs["corpus"]
    examples, replay_pools = completion_examples(read_index(corpus), recipe.prompts)
    pools = {f"{REPLAY}{task}": numbers for task, numbers in replay_pools.items()}
    for dialogue in read_conversations(corpus, DIALOGUES):
        if dialogue.split == "train":
            pools.setdefault(dialogue.task, []).append(len(examples))
            examples.append((dialogue,))
    initial = context.inputs["checkpoint"].below(CHECKPOINT)
    return fit_supervised(context, initial, examples, pools, recipe.mixture, recipe)
