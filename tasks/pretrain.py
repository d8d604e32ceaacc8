"""Stage 2: multi-task pre-training with natural-language prompts in place of task tags."""

from collections import defaultdict

from pydantic import Field

from data_contracts.records import PackedClip, Task
from model.construct import ModelRecipe
from tasks.context import StageContext, StageResult
from tasks.dialogues import completion, targets_by_task
from tasks.initial import InitialRecipe, WeightSource, build_initial
from tasks.prompts import PromptStyle, training_prompts
from tasks.shards import read_index
from tasks.supervised import Example, SupervisedRecipe, fit_supervised


class PretrainRecipe(SupervisedRecipe):
    """Everything that changes the pre-trained weights."""

    model: InitialRecipe = ModelRecipe()
    mixture: dict[Task, float] = Field(description="task -> weight in the draw of examples")


def run(
    context: StageContext, recipe: PretrainRecipe, source: WeightSource | None = None
) -> StageResult:
    """Build the initial checkpoint and train it on the corpus's train split.

    Args:
        source: the pre-trained weights, where the recipe begins with some.
    """
    clips = read_index(context.inputs["corpus"])
    initial = build_initial(context, recipe.model, source, clips, recipe.prompts)
    examples, pools = completion_examples(clips, recipe.prompts)
    mixture = {str(task): weight for task, weight in recipe.mixture.items()}
    return fit_supervised(context, initial, examples, pools, mixture, recipe)


def completion_examples(
    clips: list[PackedClip], style: PromptStyle
) -> tuple[list[Example], dict[str, list[int]]]:
    """One example a training clip and task, a variant a prompt; and their numbers by task."""
    examples: list[Example] = []
    pools: dict[str, list[int]] = defaultdict(list)
    for task, found in targets_by_task(clips).items():
        for clip in found:
            pools[task].append(len(examples))
            prompts = training_prompts(task, clip, style)
            examples.append(tuple(completion(clip, task, prompt) for prompt in prompts))
    return examples, dict(pools)
