"""Alignment, before any answers: encoder and projector learn to spell the transcripts.

A language model that is given audio tokens from anywhere learns from a few thousand clips how long
answers are, and not what is said. Here every audio token first moves to the embedding of the letter
that is heard (`model.ctc`), which takes no pass through the language model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import field_validator
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.recipe import Recipe
from infra.storage.kept_files import is_kept, keep_folder
from infra.storage.store import Store
from model.augment import AugmentRecipe
from model.costs.flops import encoder_flops, sizes_of
from model.ctc import Alphabet, class_embeddings, class_log_probs, ctc_loss, spelling
from model.encoder import encode_audio
from model.tuning import TuningRecipe
from tasks.context import StageContext, StageLogger
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader
from tasks.objectives.supervised import SupervisedFactory, SupervisedObjective, batch_counts
from tasks.training.fit import CHECKPOINT, StartingPoint, fit
from tasks.training.objective import MicroBatch, StepOutcome
from tasks.training.recipe import OptimizerRecipe
from tasks.training_data.damaged_clips import DamagePolicy
from tasks.training_data.examples import TrainingSet
from tasks.training_data.mixture import Mixture

ALIGNMENT = "scratch/alignment"


class AlignmentRecipe(Recipe):
    """How the audio side learns to spell; part of pre-training's identity."""

    optimizer: OptimizerRecipe
    """Steps, learning rates and everything else of this training."""
    audio_encoder: Literal["full", "lora", "frozen"] = "full"
    """How the encoder learns: all of it, by low-rank adapters, or not at all."""
    augment: AugmentRecipe = AugmentRecipe()
    """How audio is changed at random each time it is heard."""
    mixture: Mixture = Mixture(tasks={"asr": 1})
    """Which transcribed clips are drawn: its one task is asr."""

    @property
    def tuning(self) -> TuningRecipe:
        """Return which parts learn: the audio side."""
        return TuningRecipe(audio_encoder=self.audio_encoder, language_model="frozen")

    @field_validator("mixture")
    @classmethod
    def _check_task(cls, mixture: Mixture) -> Mixture:
        if set(mixture.tasks) != {"asr"}:
            raise ValueError(
                f"alignment learns to spell transcripts, which {sorted(mixture.tasks)} are not "
                "(all). Give the task asr alone; languages and corpora may have weights."
            )
        return mixture


@dataclass(frozen=True)
class SpellingFactory:
    """Builds the spelling objective on a worker."""

    supervised: SupervisedFactory
    characters: str
    """The alphabet: characters of the spelling of the training transcripts."""

    def __call__(self, processor: Qwen2AudioProcessor) -> "SpellingObjective":
        """Open the corpus and spell the alphabet with the model's tokens."""
        corpus = self.supervised.corpus
        alphabet = Alphabet.of(self.characters, processor.tokenizer)
        reader = ClipReader(corpus, CorpusIndex(corpus))
        return SpellingObjective(self.supervised, reader, processor, alphabet)


def align(
    context: StageContext,
    initial: Store,
    training_set: TrainingSet,
    recipe: AlignmentRecipe,
    damage: DamagePolicy,
) -> Store:
    """Train the audio side of the checkpoint in `initial`; return the folder of the result.

    It is trained as every checkpoint is, on the context's workers and resumable, below the stage's
    own folder.

    Args:
        training_set: its examples of the task `asr` hear one clip each and answer with its
            transcript.
        damage: what becomes of damaged clips.

    Raises:
        MixtureError: there is no transcribed clip.
    """
    directory = context.directory.below(ALIGNMENT)
    if not is_kept(directory, CHECKPOINT, context.progress):
        examples, table = training_set.examples, training_set.table
        data = recipe.mixture.draw(table, recipe.optimizer)
        transcribed = (i for i in range(len(table)) if table.task[i] == "asr")
        heard = {c for i in transcribed for c in spelling(examples[i][0].answer)}
        supervised = SupervisedFactory(
            corpus=context.inputs["corpus"],
            examples=examples,
            augment=recipe.augment,
            label_smoothing=0.0,
            seed=recipe.optimizer.seed,
            skipping=damage.skipping(context.directory),
        )
        fit(
            replace(context, directory=directory, logger=AlignmentLogger(context.logger)),
            StartingPoint(initial, recipe.tuning),
            SpellingFactory(supervised, "".join(sorted(heard))),
            data,
            recipe.optimizer.model_copy(update={"steps": data.num_steps}),
        )
        keep_folder(directory, CHECKPOINT)
    return directory.below(CHECKPOINT)


@dataclass(frozen=True)
class AlignmentLogger:
    """Keeps the metrics of the alignment apart from those of the stage."""

    inner: StageLogger

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log values under `alignment/`, such as `alignment/loss`."""
        self.inner.metrics({f"alignment/{name}": value for name, value in values.items()}, step)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the stage's run."""
        self.inner.tags(values)

    def text(self, content: str, file: str) -> None:
        """Keep a text file below `alignment/`."""
        self.inner.text(content, f"alignment/{file}")

    def table(self, rows: Sequence[Mapping[str, object]], file: str) -> None:
        """Add rows to a table."""
        self.inner.table(rows, f"alignment/{file}")


class SpellingObjective(SupervisedObjective):
    """Computes minus the log-probability of the transcripts, given the audio tokens alone."""

    def __init__(
        self,
        parts: SupervisedFactory,
        reader: ClipReader,
        processor: Qwen2AudioProcessor,
        alphabet: Alphabet,
    ) -> None:
        super().__init__(parts, reader, processor)
        self._alphabet = alphabet

    def prepare(self, examples: Sequence[int], step: int) -> MicroBatch:
        """Read and pack examples, whose loss is a mean over the characters of the transcripts."""
        batch = self.batch(examples, step)
        return MicroBatch(tuple(examples), batch, sum(map(len, self._targets(examples))))

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch
    ) -> StepOutcome:
        """Sum the loss over the clips of the batch."""
        clips = [self._parts.examples[i][0].clip_ids[0] for i in prepared.examples]
        audio, counts = encode_audio(model, prepared.batch.features)
        log_probs = class_log_probs(audio, class_embeddings(model, self._alphabet))
        # A clip that the examples name twice is encoded once and counts twice.
        tokens = dict(zip(dict.fromkeys(clips), counts, strict=True))
        loss = ctc_loss(
            log_probs.index_select(0, prepared.batch.audio_sources.to(log_probs.device)),
            [tokens[clip] for clip in clips],
            self._targets(prepared.examples),
        )
        encoder = encoder_flops(model.config, sizes_of(prepared.batch).window_positions)
        return StepOutcome(loss, {**batch_counts(model, prepared.batch), "flops": encoder.trained})

    def _targets(self, examples: Sequence[int]) -> list[Tensor]:
        """Encode the transcript of each example; empty where its clip is skipped."""
        asked = (self._parts.examples[i][0] for i in examples)
        return [
            self._alphabet.encode("" if self._clips.is_skipped(c.clip_ids[0]) else c.answer)
            for c in asked
        ]
