"""Next-token training on answers: the objective that pre-training and fine-tuning share.

P(x_t | x_<t, Encoder(a)), maximised over the answer's tokens (Qwen2-Audio report, eq. 1).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.digest import digest_of
from data_contracts.records import Conversation
from infra.store import Store
from model.audio import HOP_LENGTH, SAMPLE_RATE, num_tokens_of_features
from model.augment import AugmentRecipe, augment_features, most_audio_tokens
from model.batch import Batch, collate
from model.features import log_mel_spectrogram
from model.flops import step_flops
from model.forward import cross_entropy
from model.sequence import render
from model.tuning import TuningRecipe
from tasks.clips import ClipReader
from tasks.context import StageContext, StageResult
from tasks.corpus_index import CorpusIndex
from tasks.mixture import plan_mixture
from tasks.optimization import MicroBatch, OptimizerRecipe, StepOutcome
from tasks.prompts import PromptStyle
from tasks.split import Load
from tasks.training import fit

Example = tuple[Conversation, ...]
"""Variants of one example that differ in the prompt's words; a step draws one of them."""


class SupervisedRecipe(BaseModel):
    """What every supervised stage's recipe has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: OptimizerRecipe
    prompts: PromptStyle = Field(
        "natural",
        description="how pre-training examples ask: in sentences, or by the predecessor's tags, "
        "which are new tokens of a model from scratch and plain text for a pre-trained one. "
        "ingest.suites.asked_with: tags evaluates such a model",
    )
    tuning: TuningRecipe = TuningRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="weight of the uniform target")


@dataclass(frozen=True)
class SupervisedFactory:
    """Builds the objective on a worker."""

    corpus: Store
    examples: tuple[Example, ...]
    augment: AugmentRecipe
    label_smoothing: float
    seed: int

    def __call__(self, processor: Qwen2AudioProcessor) -> "SupervisedObjective":
        """Open the corpus and keep what the objective needs."""
        reader = ClipReader(self.corpus, CorpusIndex(self.corpus))
        return SupervisedObjective(self, reader, processor)


def fit_supervised(
    context: StageContext,
    initial: Store,
    examples: Sequence[Example],
    pools: Mapping[str, Sequence[int]],
    mixture: Mapping[str, float],
    recipe: SupervisedRecipe,
) -> StageResult:
    """Train the checkpoint in `initial` on a mixture of examples.

    Args:
        pools: task -> numbers of its examples.
        mixture: task -> weight in the draw.
    """
    optimizer = recipe.optimizer
    plan = plan_mixture(
        pools, mixture, optimizer.steps, optimizer.examples_per_step, optimizer.seed
    )
    factory = SupervisedFactory(
        corpus=context.inputs["corpus"],
        examples=tuple(examples),
        augment=recipe.augment,
        label_smoothing=recipe.label_smoothing,
        seed=optimizer.seed,
    )
    metrics = fit(context, initial, factory, plan, optimizer, recipe.tuning)
    return StageResult(len(examples), plan.size, metrics=metrics)


class SupervisedObjective:
    """Cross-entropy on the answers of conversations, with augmented audio."""

    def __init__(
        self, parts: SupervisedFactory, reader: ClipReader, processor: Qwen2AudioProcessor
    ) -> None:
        self._parts = parts
        self._reader = reader
        self._tokenizer = processor.tokenizer
        self._num_mel_bins = processor.feature_extractor.feature_size

    def loads(self, examples: Sequence[int]) -> list[Load]:
        """Of the longest variant, as long as augmentation can make it: a step draws both."""
        return [
            max(
                (self._load(variant) for variant in self._parts.examples[i]), key=lambda x: x.tokens
            )
            for i in examples
        ]

    def _load(self, conversation: Conversation) -> Load:
        tokens = {
            clip: most_audio_tokens(self._reader.row(clip).num_samples, self._parts.augment)
            for clip in conversation.clip_ids
        }
        sequence = render(conversation, self._tokenizer, tokens)
        return Load(len(sequence), len(sequence.audio_places))

    def prepare(self, examples: Sequence[int], step: int) -> MicroBatch:
        """Its loss is a mean over answer tokens."""
        batch = self.batch(examples, step)
        return MicroBatch(tuple(examples), batch, batch.num_labels)

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch
    ) -> StepOutcome:
        """Sum of the cross-entropy over all answer tokens."""
        loss = cross_entropy(model, prepared.batch, self._parts.label_smoothing)
        return StepOutcome(loss, batch_counts(model, prepared.batch))

    def batch(self, examples: Sequence[int], step: int) -> Batch:
        """The packed batch of some examples, with this step's variants and augmentation."""
        chosen = []
        for example in (self._parts.examples[i] for i in examples):
            draw = random.Random(f"{self._parts.seed} {step} {example[0].id}")
            chosen.append(draw.choice(example))
        features = self._features(chosen, step)
        tokens = {clip: num_tokens_of_features(f.shape[1]) for clip, f in features.items()}
        sequences = [render(conversation, self._tokenizer, tokens) for conversation in chosen]
        return collate(sequences, features)

    def _features(self, conversations: Sequence[Conversation], step: int) -> dict[str, Tensor]:
        clips = sorted({clip for conversation in conversations for clip in conversation.clip_ids})
        plain = clip_features(self._reader, clips, self._num_mel_bins)
        changed = {}
        for clip, features in plain.items():
            seed = int(digest_of([self._parts.seed, step, clip])[:15], 16)
            generator = torch.Generator().manual_seed(seed)
            changed[clip] = augment_features(features, generator, self._parts.augment)
        return changed


def clip_features(reader: ClipReader, clips: Sequence[str], num_mel_bins: int) -> dict[str, Tensor]:
    """Log-mel features of clips: float32 [num_mel_bins, frames] by clip id."""
    if not clips:
        return {}
    waveforms = [torch.from_numpy(np.ascontiguousarray(reader[clip])) for clip in clips]
    return dict(zip(clips, log_mel_spectrogram(waveforms, num_mel_bins), strict=True))


def batch_counts(model: Qwen2AudioForConditionalGeneration, batch: Batch) -> Mapping[str, float]:
    """What the meter turns into rates and shares.

    `padding_tokens` counts the positions of the row that belong to no sequence. Packing leaves
    none, which this measures instead of assuming.
    """
    positions = len(batch.input_ids)
    used = batch.plan.num_positions
    frames = sum(features.shape[1] for features in batch.features)
    return {
        "tokens": positions,
        "padding_tokens": positions - used,
        "audio_seconds": frames * HOP_LENGTH / SAMPLE_RATE,
        "flops": step_flops(model, batch),
    }
