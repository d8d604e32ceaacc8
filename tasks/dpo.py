"""Stage 5: direct preference optimisation against the SFT model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.records import PreferencePair
from infra.store import Store
from model.audio import num_audio_tokens, num_tokens_of_features
from model.batch import AnswerPair, Batch, collate_pairs
from model.forward import pair_log_probs
from model.losses import dpo_loss
from model.sequence import render_answer, render_prompt
from model.tuning import TuningRecipe
from tasks.answering import Answerer
from tasks.clips import ClipReader
from tasks.collect_preferences import read_pairs
from tasks.context import StageContext, StageResult
from tasks.corpus_index import CorpusIndex
from tasks.early_evaluation import pick_held_out
from tasks.mixture import plan_mixture
from tasks.optimization import (
    ExampleSource,
    MicroBatch,
    OptimizerRecipe,
    Precision,
    StepOutcome,
    reduced_precision,
)
from tasks.split import Load
from tasks.supervised import batch_counts, clip_features, source_of
from tasks.training import CHECKPOINT, fit

REFERENCE = "reference_log_probs.json"
_PAIRS_AT_ONCE = 32
_PAIRS_A_TASK = 4096
"""So many that opening a checkpoint for them is little work."""


class DpoRecipe(BaseModel):
    """Everything that changes the aligned weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: OptimizerRecipe
    tuning: TuningRecipe = TuningRecipe()
    beta: float = Field(0.1, gt=0, description="how strongly the policy is held to the reference")


@dataclass(frozen=True)
class DpoFactory:
    """Builds the objective on a worker."""

    corpus: Store
    pairs: tuple[PreferencePair, ...]
    reference: dict[str, tuple[float, float]]
    """Pair id -> the reference model's log-probabilities of chosen and rejected."""
    beta: float

    def __call__(self, processor: Qwen2AudioProcessor) -> "DpoObjective":
        """Open the corpus."""
        return DpoObjective(self, ClipReader(self.corpus, CorpusIndex(self.corpus)), processor)


class DpoObjective:
    """The published loss over preference pairs. Audio is not augmented: the stored reference
    log-probabilities are exact only for the same features.
    """

    def __init__(
        self, parts: DpoFactory, reader: ClipReader, processor: Qwen2AudioProcessor
    ) -> None:
        self._parts = parts
        self._reader = reader
        self._processor = processor

    def loads(self, examples: Sequence[int]) -> list[Load]:
        """Of the tree: the prompt once, and both answers."""
        return [self._load(self._parts.pairs[i]) for i in examples]

    def _load(self, pair: PreferencePair) -> Load:
        tokenizer = self._processor.tokenizer
        tokens = {
            clip: num_audio_tokens(self._reader.row(clip).num_samples)
            for clip in pair.prompt.clip_ids
        }
        prompt = render_prompt(pair.prompt, tokenizer, tokens)
        answers = [
            render_answer(text, pair.prompt, tokenizer) for text in (pair.chosen, pair.rejected)
        ]
        return Load(len(prompt) + sum(map(len, answers)), len(prompt.audio_places))

    def sources(self, examples: Sequence[int]) -> list[ExampleSource]:
        """Of the pairs' prompts."""
        pairs = [self._parts.pairs[i] for i in examples]
        prompts = (pair.prompt.model_copy(update={"id": pair.id}) for pair in pairs)
        return [source_of(prompt, lambda clip: self._reader.row(clip).shard) for prompt in prompts]

    def prepare(self, examples: Sequence[int], _step: int) -> MicroBatch:
        """Its loss is a mean over pairs; nothing in it is random."""
        pairs = [self._parts.pairs[i] for i in examples]
        batch = collate_preferences(pairs, self._reader, self._processor)
        return MicroBatch(tuple(examples), batch, len(pairs))

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch
    ) -> StepOutcome:
        """Sum of the loss over some pairs, with reward metrics."""
        chosen, rejected = pair_log_probs(model, prepared.batch)
        stored = [self._parts.reference[self._parts.pairs[i].id] for i in prepared.examples]
        reference = torch.tensor(stored, device=chosen.device)
        result = dpo_loss(chosen, rejected, reference[:, 0], reference[:, 1], self._parts.beta)
        margins = result.chosen_rewards - result.rejected_rewards
        counts = dict(batch_counts(model, prepared.batch)) | {
            "reward_accuracy": float((margins > 0).sum()),
            "reward_margin": float(margins.sum()),
            "chosen_reward": float(result.chosen_rewards.sum()),
        }
        return StepOutcome(result.losses.sum(), counts)


def run(context: StageContext, recipe: DpoRecipe) -> StageResult:
    """Store the SFT model's log-probabilities once, then optimise the policy."""
    corpus, checkpoint = context.inputs["corpus"], context.inputs["checkpoint"]
    pairs = [pair for pair in read_pairs(context.inputs["pairs"]) if pair.split != "test"]
    initial = checkpoint.below(CHECKPOINT)
    if not context.directory.exists(REFERENCE):
        score = partial(
            _score_portion, initial, corpus, recipe.optimizer.precision, context.scratch
        )
        portions = [pairs[i : i + _PAIRS_A_TASK] for i in range(0, len(pairs), _PAIRS_A_TASK)]
        found: dict[str, tuple[float, float]] = {}
        for scores in context.compute.map_on_devices(score, portions):
            found |= scores
        context.directory.write_text(REFERENCE, json.dumps({p.id: found[p.id] for p in pairs}))
        context.progress(f"reference log-probabilities of {len(pairs)} pairs stored")
    reference = {
        name: (float(chosen), float(rejected))
        for name, (chosen, rejected) in json.loads(context.directory.read_text(REFERENCE)).items()
    }
    plan: np.ndarray = plan_mixture(
        {"pairs": range(len(pairs))},
        {"pairs": 1.0},
        recipe.optimizer.steps,
        recipe.optimizer.examples_per_step,
        recipe.optimizer.seed,
    )
    factory = DpoFactory(corpus, tuple(pairs), reference, recipe.beta)
    held_out = pick_held_out(corpus, recipe.optimizer.seed, ())
    pools = np.zeros(len(pairs), np.int32)  # all are drawn in turn
    optimizer, tuning = recipe.optimizer, recipe.tuning
    metrics = fit(context, initial, factory, plan, pools, optimizer, tuning, held_out)
    return StageResult(len(pairs), plan.size, metrics=metrics)


def _score_portion(
    checkpoint: Store,
    corpus: Store,
    precision: Precision,
    scratch: Path,
    device: str,
    pairs: Sequence[PreferencePair],
) -> dict[str, tuple[float, float]]:
    """In the policy's precision, so that policy and reference begin equal."""
    answerer = Answerer.open(checkpoint, corpus, scratch, device)
    with reduced_precision(precision, torch.device(device).type):
        return score_pairs(answerer, pairs)


@torch.inference_mode()
def score_pairs(
    answerer: Answerer, pairs: Sequence[PreferencePair]
) -> dict[str, tuple[float, float]]:
    """log pi(y_w|x) and log pi(y_l|x) of each pair by id, in nats."""
    scores: dict[str, tuple[float, float]] = {}
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        batch = collate_preferences(some, answerer.reader, answerer.processor)
        chosen, rejected = pair_log_probs(answerer.model, batch)
        for pair, *values in zip(some, chosen.tolist(), rejected.tolist(), strict=True):
            scores[pair.id] = (values[0], values[1])
    return scores


def collate_preferences(
    pairs: Sequence[PreferencePair], reader: ClipReader, processor: Qwen2AudioProcessor
) -> Batch:
    """Pack pairs as trees [prompt | chosen | rejected]."""
    tokenizer = processor.tokenizer
    clips = sorted({clip for pair in pairs for clip in pair.prompt.clip_ids})
    features = clip_features(reader, clips, processor.feature_extractor.feature_size)
    tokens = {clip: num_tokens_of_features(f.shape[1]) for clip, f in features.items()}
    return collate_pairs(
        [
            AnswerPair(
                prompt=render_prompt(pair.prompt, tokenizer, tokens),
                chosen=render_answer(pair.chosen, pair.prompt, tokenizer),
                rejected=render_answer(pair.rejected, pair.prompt, tokenizer),
            )
            for pair in pairs
        ],
        features,
    )
