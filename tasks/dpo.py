"""Stage 5: direct preference optimisation, with the SFT model as the reference."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from pydantic import Field

from data_contracts.answer_records import PreferencePair
from data_contracts.recipe import Recipe
from data_contracts.training_choices import Precision
from infra.storage.kept_files import is_kept, write_kept
from infra.storage.store import Store
from model.tuning import TuningRecipe
from tasks.context import StageContext, StageResult
from tasks.corpus.pairs import read_pairs
from tasks.evaluation.answerer import Answerer
from tasks.evaluation.early import pick_held_out
from tasks.objectives.preference import DpoFactory, score_pairs
from tasks.training.fit import CHECKPOINT, StartingPoint, fit
from tasks.training.objective import reduced_precision
from tasks.training.recipe import OptimizerRecipe
from tasks.training_data.mixture_plan import draw_evenly

REFERENCE = "reference_log_probs.json"
_PAIRS_PER_TASK = 4096
"""Pairs that one task scores: so many that opening a checkpoint for them is little work."""


class DpoRecipe(Recipe):
    """Everything that changes the aligned weights."""

    optimizer: OptimizerRecipe
    """Steps, learning rates and everything else of the training itself."""
    tuning: TuningRecipe = TuningRecipe()
    """Which parts of the model learn, and how."""
    beta: float = Field(0.1, gt=0)
    """How strongly the policy is kept near the reference, above 0: beta of the loss."""


def run(context: StageContext, recipe: DpoRecipe) -> StageResult:
    """Store the SFT model's log-probabilities once, then optimise the policy."""
    corpus, checkpoint = context.inputs["corpus"], context.inputs["checkpoint"]
    pairs = [pair for pair in read_pairs(context.inputs["pairs"]) if pair.split != "test"]
    initial = checkpoint.below(CHECKPOINT)
    if not is_kept(context.directory, REFERENCE, context.progress):
        score = partial(
            _score_portion, initial, corpus, recipe.optimizer.precision, context.scratch
        )
        portions = [pairs[i : i + _PAIRS_PER_TASK] for i in range(0, len(pairs), _PAIRS_PER_TASK)]
        scores: dict[str, tuple[float, float]] = {}
        for some in context.compute.map_on_devices(score, portions):
            scores |= some
        text = json.dumps({pair.id: scores[pair.id] for pair in pairs})
        write_kept(context.directory, REFERENCE, text.encode())
        context.progress(f"reference log-probabilities of {len(pairs)} pairs stored")
    reference = {
        name: (float(chosen), float(rejected))
        for name, (chosen, rejected) in json.loads(context.directory.read_text(REFERENCE)).items()
    }
    data = draw_evenly(len(pairs), recipe.optimizer)
    factory = DpoFactory(corpus, tuple(pairs), reference, recipe.beta)
    held_out = pick_held_out(corpus, recipe.optimizer.seed, ())
    start = StartingPoint(initial, recipe.tuning)
    fit(context, start, factory, data, recipe.optimizer, held_out)
    return StageResult(len(pairs), data.plan.size)


def _score_portion(
    checkpoint: Store,
    corpus: Store,
    precision: Precision,
    scratch: Path,
    device: str,
    pairs: Sequence[PreferencePair],
) -> dict[str, tuple[float, float]]:
    """Score pairs in the policy's precision, so that policy and reference begin equal."""
    answerer = Answerer.open(checkpoint, corpus, scratch, device)
    with reduced_precision(precision, torch.device(device).type):
        return score_pairs(answerer, pairs)
