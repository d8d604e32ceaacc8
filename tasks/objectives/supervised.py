"""Next-token training on answers: the objective that pre-training and fine-tuning share.

P(x_t | x_<t, Encoder(a)), maximised over the answer's tokens (Qwen2-Audio report, eq. 1).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from transformers import (
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)

from data_contracts.digest import digest_of
from data_contracts.jsonl import to_jsonl
from data_contracts.recipe import Recipe
from data_contracts.records import Conversation, TaskName
from infra.storage.store import Store
from model.audio import HOP_LENGTH, SAMPLE_RATE
from model.augment import AugmentRecipe, augment_features, most_audio_tokens
from model.batch import Batch, collate
from model.costs.flops import step_flops
from model.forward import cross_entropy
from model.sequence import TokenSequence, render_example
from model.tuning import TuningRecipe
from tasks.context import StageContext, StageResult
from tasks.conversations.prompts import PromptStyle
from tasks.corpus.features import hear
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader
from tasks.training.fit import StartingPoint, fit
from tasks.training.held_out import ExaminerFactory
from tasks.training.objective import ExampleSource, MicroBatch, StepOutcome
from tasks.training.recipe import OptimizerRecipe
from tasks.training.split import Load
from tasks.training_data.damaged_clips import DamagePolicy, Skipping, TrainingClips, skipped_clips
from tasks.training_data.examples import Examples, TrainingSet
from tasks.training_data.mixture import Mixture, MixtureRow, measure

MIXTURE = "mixture.jsonl"
"""File of the artifact: what was wanted and drawn of each task, language and corpus."""
_MIXTURE_TABLE = "mixture.json"
"""The same as a table in MLflow."""


class SupervisedRecipe(Recipe):
    """Fields that the recipes of all supervised stages share."""

    optimizer: OptimizerRecipe
    """Steps, learning rates and everything else of the training itself."""
    prompts: PromptStyle = "natural"
    """How pre-training examples ask: in sentences, or by the predecessor's tags, which are new
    tokens of a model from scratch and plain text for a pre-trained one. ingest.suites.asked_with:
    tags evaluates such a model."""
    tuning: TuningRecipe = TuningRecipe()
    """Which parts of the model learn, and how."""
    augment: AugmentRecipe = AugmentRecipe()
    """How audio is changed at random each time it is heard."""
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    """Weight of the uniform target, from 0 to below 1."""
    letters: tuple[TaskName, ...] = ()
    """Tasks whose answers are learnt letter by letter (`model.sequence.letters`)."""
    damage: DamagePolicy = DamagePolicy()
    """What becomes of clips whose bytes are damaged."""


@dataclass(frozen=True)
class SupervisedFactory:
    """Builds the supervised objective on a worker."""

    corpus: Store
    examples: Examples
    augment: AugmentRecipe
    label_smoothing: float
    seed: int
    letters: tuple[TaskName, ...] = ()
    """Tasks whose answers are learnt letter by letter."""
    skipping: Skipping | None = None
    """What becomes of damaged clips; None: they end the run."""

    def __call__(self, processor: Qwen2AudioProcessor) -> "SupervisedObjective":
        """Open the corpus and keep what the objective needs."""
        reader = ClipReader(self.corpus, CorpusIndex(self.corpus))
        return SupervisedObjective(self, reader, processor)


def fit_supervised(
    context: StageContext,
    initial: Store,
    training_set: TrainingSet,
    mixture: Mixture,
    recipe: SupervisedRecipe,
    held_out: ExaminerFactory,
) -> StageResult:
    """Train the checkpoint in `initial` on a mixture of examples.

    Args:
        held_out: makes the early evaluation.
    """
    data = mixture.draw(training_set.table, recipe.optimizer)
    _report(context, list(measure(data, training_set.table)))
    factory = SupervisedFactory(
        corpus=context.inputs["corpus"],
        examples=training_set.examples,
        augment=recipe.augment,
        label_smoothing=recipe.label_smoothing,
        seed=recipe.optimizer.seed,
        letters=recipe.letters,
        skipping=recipe.damage.skipping(context.directory),
    )
    start = StartingPoint(initial, recipe.tuning)
    optimizer = recipe.optimizer.model_copy(update={"steps": data.num_steps})
    fit(context, start, factory, data, optimizer, held_out)
    skipped = skipped_clips(context.directory, context.inputs["corpus"])
    for clip in skipped:
        context.progress(f"skipped, damaged: clip {clip.id} in {clip.shard} at byte {clip.offset}")
    metrics = {"skipped_clips": float(len(skipped))}
    return StageResult(len(training_set), data.plan.size, metrics=metrics)


def _report(context: StageContext, rows: Sequence[MixtureRow]) -> None:
    """Write the mixture into the artifact, and show it as a table."""
    context.directory.write_text(MIXTURE, to_jsonl(rows))
    context.logger.table([row.model_dump() for row in rows], _MIXTURE_TABLE)
    farthest = max(rows, key=lambda row: abs(row.share - row.wanted_share))
    context.progress(
        f"{sum(row.draws for row in rows if row.axis == 'task')} examples planned; farthest from "
        f"the wanted mixture is {farthest.axis} {farthest.name}: {farthest.share:.2%}, wanted "
        f"{farthest.wanted_share:.2%}"
    )


class SupervisedObjective:
    """Cross-entropy on the answers of conversations, with augmented audio."""

    def __init__(
        self, parts: SupervisedFactory, reader: ClipReader, processor: Qwen2AudioProcessor
    ) -> None:
        self._parts = parts
        self._clips = TrainingClips(reader, parts.skipping)
        self._tokenizer = processor.tokenizer
        self._num_mel_bins = processor.feature_extractor.feature_size

    def loads(self, examples: Sequence[int]) -> list[Load]:
        """Return the loads of the longest variants, as long as augmentation can make them."""
        return [
            max(
                (self._load(variant) for variant in self._parts.examples[i]), key=lambda x: x.tokens
            )
            for i in examples
        ]

    def _load(self, conversation: Conversation) -> Load:
        tokens = {
            clip: most_audio_tokens(self._clips.num_samples(clip), self._parts.augment)
            for clip in conversation.clip_ids
        }
        sequence = self._render(conversation, tokens)
        return Load(len(sequence), len(sequence.audio_positions))

    def sources(self, examples: Sequence[int]) -> list[ExampleSource]:
        """Return where the first variants come from: all have the same clips."""
        first = (self._parts.examples[i][0] for i in examples)
        return [source_of(conversation, self._clips.shard) for conversation in first]

    def prepare(self, examples: Sequence[int], step: int) -> MicroBatch:
        """Read and pack examples, whose loss is a mean over answer tokens."""
        batch = self.batch(examples, step)
        return MicroBatch(tuple(examples), batch, batch.num_labels)

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch
    ) -> StepOutcome:
        """Sum the cross-entropy over all answer tokens."""
        loss = cross_entropy(model, prepared.batch, self._parts.label_smoothing)
        return StepOutcome(loss, batch_counts(model, prepared.batch))

    def batch(self, examples: Sequence[int], step: int) -> Batch:
        """Pack some examples, with this step's variants and augmentation."""
        chosen = []
        for example in (self._parts.examples[i] for i in examples):
            draw = random.Random(f"{self._parts.seed} {step} {example[0].id}")
            chosen.append(draw.choice(example))
        augment = partial(self._augment, step)
        features, tokens = hear(self._clips, chosen, self._num_mel_bins, augment)
        sequences = [self._render(conversation, tokens) for conversation in chosen]
        return collate([self._without_skipped(sequence) for sequence in sequences], features)

    def _render(self, conversation: Conversation, tokens: Mapping[str, int]) -> TokenSequence:
        return render_example(conversation, self._tokenizer, tokens, self._parts.letters)

    def _without_skipped(self, sequence: TokenSequence) -> TokenSequence:
        """Take the labels from a conversation that hears a damaged clip."""
        if not any(self._clips.is_skipped(clip) for clip in sequence.clip_ids):
            return sequence
        return replace(sequence, is_label=np.zeros_like(sequence.is_label))

    def _augment(self, step: int, clip: str, features: Tensor) -> Tensor:
        """Augment by a random state that depends on the recipe's seed, the step and the clip."""
        seed = int(digest_of([self._parts.seed, step, clip])[:15], 16)
        generator = torch.Generator().manual_seed(seed)
        return augment_features(features, generator, self._parts.augment)


def source_of(conversation: Conversation, shard_of: Callable[[str], str]) -> ExampleSource:
    """Return the clips of a conversation and their shards."""
    clips = conversation.clip_ids
    return ExampleSource(conversation.id, clips, tuple(shard_of(clip) for clip in clips))


def batch_counts(model: Qwen2AudioForConditionalGeneration, batch: Batch) -> Mapping[str, float]:
    """Count what the meter turns into rates and shares.

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
