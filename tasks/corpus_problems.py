"""What a corpus lacks for a stage, told by its numbers before anything is trained or answered.

A function for each stage: (finished corpus, recipe) -> problems, each one text with value, rule and
remedy. No problem means that the stage has what it needs. Nothing here imports torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from data_contracts.records import Split
from infra.storage.store import Store
from tasks.conversations.task_table import COMBINED, REPLAY
from tasks.corpus.contents import absent_tasks, read_contents

if TYPE_CHECKING:
    from tasks.collect_preferences import CollectRecipe
    from tasks.dpo import DpoRecipe
    from tasks.evaluate import EvaluateRecipe
    from tasks.pretrain import PretrainRecipe
    from tasks.sft import SftRecipe


def pretrain_problems(corpus: Store, recipe: "PretrainRecipe") -> list[str]:
    """Tell weights without a training clip, and too few clips for a step."""
    there = read_contents(corpus).completions.get("train", {})
    weights = recipe.mixture.tasks or dict.fromkeys(there, 1.0)
    return _of_training("pretrain", weights, there, recipe.optimizer.examples_per_step)


def sft_problems(corpus: Store, recipe: "SftRecipe") -> list[str]:
    """Tell weights without a training dialogue or replayed clip, and too few of them for a step."""
    contents = read_contents(corpus)
    dialogues = contents.dialogues.get("train", {})
    completions = contents.completions.get("train", {})
    there = dialogues | {REPLAY + task: number for task, number in completions.items()}
    weights = recipe.mixture.tasks or dict.fromkeys(dialogues.keys() - COMBINED, 1.0)
    return _of_training("sft", weights, there, recipe.optimizer.examples_per_step)


def collect_preferences_problems(corpus: Store, _recipe: "CollectRecipe") -> list[str]:
    """Tell that there is no prompt to train on."""
    contents = read_contents(corpus)
    if contents.prompts.keys() & {"train", "dev"}:
        return []
    return [
        "collect_preferences has no prompt of train or dev: prompts are dialogues of one exchange, "
        f"and the corpus has the dialogues {_named(contents.dialogues.get('train', {}))} to train "
        "on. Raise ingest.dialogues.prompts and limits, add recordings with labels or "
        "conversations of two turns, or give pairs of your own (`rejected`)."
    ]


def dpo_problems(corpus: Store, recipe: "DpoRecipe") -> list[str]:
    """Tell too few pairs of the data's own, for a run that collects none."""
    pairs = read_contents(corpus).pairs
    num_pairs = sum(number for split, number in pairs.items() if split != "test")
    if not num_pairs:
        return [
            f"dpo has no pair to train on: the corpus came with {_named(pairs)}, and no stage "
            "collects some. Give rows with a conversation and a `rejected` answer in the splits "
            "train or dev, or run collect_preferences before it."
        ]
    return _too_few("dpo", num_pairs, recipe.optimizer.examples_per_step)


def evaluate_problems(corpus: Store, _recipe: "EvaluateRecipe") -> list[str]:
    """Tell that nothing is held out."""
    contents = read_contents(corpus)
    suites = contents.suites | {"preference": contents.pairs.get("test", 0)}
    if not any(suites.values()):
        return [
            "evaluate has nothing to ask: the corpus has no row of the split test that a suite is "
            "made of. Give some rows `split: test`, or no row a split, so that splits are made."
        ]
    return []


def _of_training(
    stage: str, weights: Mapping[str, float], there: Mapping[str, int], per_step: int
) -> list[str]:
    """Tell what a training on a mixture lacks.

    Args:
        there: task -> number of its training examples.
    """
    drawn = [task for task, weight in weights.items() if weight]
    if not there or not drawn:
        return [
            f"{stage} has nothing to train on: the corpus has the training examples "
            f"{_named(there)}, and the mixture draws {sorted(drawn)}. Add recordings of the split "
            f"train, or name what there is in {stage}.mixture."
        ]
    if problem := absent_tasks(weights, there):
        return [f"{stage}: {problem}"]
    return _too_few(stage, sum(there[task] for task in drawn), per_step)


def _too_few(stage: str, num_examples: int, per_step: int) -> list[str]:
    if num_examples >= per_step:
        return []
    return [
        f"{stage} takes {per_step} examples a step, and the corpus has {num_examples} to draw "
        f"from: a step would learn some twice. Set {stage}.optimizer.examples_per_step to "
        f"{num_examples} or fewer, or add recordings."
    ]


def _named(numbers: Mapping[str, int] | Mapping[Split, int]) -> str:
    return ", ".join(f"{name} ({number})" for name, number in sorted(numbers.items())) or "none"
