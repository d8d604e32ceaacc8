"""Encoder and projector learn to spell real recordings, on any number of workers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from infra.compute.resources import Resources
from infra.storage.store import Store
from model.augment import AugmentRecipe
from model.checkpoints.construct import ModelRecipe
from model.ctc import spelling
from model.parts import part_of
from model.tuning import TuningRecipe
from tasks import ingest, start
from tasks.context import StageContext
from tasks.conversations.task_table import shipped_tasks
from tasks.corpus.index import CorpusIndex
from tasks.ingest import IngestRecipe
from tasks.initial_model.build import StartRecipe
from tasks.objectives.alignment import AlignmentRecipe, SpellingFactory, align
from tasks.objectives.supervised import SupervisedFactory
from tasks.sources.manifest import DataSource
from tasks.training.fit import CHECKPOINT
from tasks.training.recipe import OptimizerRecipe
from tasks.training_data.damaged_clips import DamagePolicy
from tasks.training_data.examples import ClipTable, TrainingSet, completion_examples
from tasks.training_data.mixture import Mixture
from tests.support.example_numbers import drawing
from tests.support.recordings import stage_context
from tests.support.training_jobs import EXAMPLES_PER_STEP, STEPS, Training

TASKS = shipped_tasks()
TINY = ModelRecipe(
    audio_layers=1, audio_width=32, audio_heads=2, audio_ffn=64,
    text_layers=1, text_width=32, text_heads=2, text_kv_heads=2, text_ffn=64, vocab_size=512,
)  # fmt: skip
RECIPE = AlignmentRecipe(
    optimizer=OptimizerRecipe(
        steps=STEPS, examples_per_step=EXAMPLES_PER_STEP, learning_rate=3e-3, warmup_steps=3
    )
)


class Recorded:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.values: dict[int, dict[str, float]] = {}

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.values.setdefault(step, {}).update(values)

    def tags(self, values: Mapping[str, str]) -> None:
        """Forgotten."""

    def text(self, content: str, file: str) -> None:
        """Forgotten."""

    def table(self, rows: Sequence[Mapping[str, object]], file: str) -> None:
        """Forgotten."""


@pytest.fixture(scope="module")
def context(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> StageContext:
    folder = tmp_path_factory.mktemp("alignment")
    corpus = stage_context(folder / "corpus")
    ingest.run(corpus, IngestRecipe(), DataSource(manifest=str(small_manifest)))
    return replace(
        stage_context(folder / "stage", {"corpus": corpus.directory}),
        logger=Recorded(),
        resources=Resources(backend="process", log_every_steps=1),
    )


@pytest.fixture(scope="module")
def initial(context: StageContext) -> Store:
    started = replace(context, directory=context.directory.below("start"))
    start.run(started, StartRecipe(model=TINY))
    return started.directory.below(CHECKPOINT)


@pytest.fixture(scope="module")
def training_set(context: StageContext) -> TrainingSet:
    index = CorpusIndex(context.inputs["corpus"])
    return completion_examples(index, ClipTable.of(index, TASKS), TASKS, "natural")


@pytest.fixture(scope="module")
def aligned(context: StageContext, initial: Store, training_set: TrainingSet) -> Store:
    return align(context, initial, training_set, RECIPE, DamagePolicy())


def tensors(checkpoint: Store) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(checkpoint.path("model.safetensors"))
    return found


def test_the_audio_side_learns_and_the_language_model_stays(
    context: StageContext, initial: Store, aligned: Store
) -> None:
    before, after = tensors(initial), tensors(aligned)
    assert before.keys() == after.keys()
    changed = {part_of(f"model.{n}") for n in after if not torch.equal(before[n], after[n])}
    assert changed == {"audio_encoder", "projector"}
    assert isinstance(context.logger, Recorded)
    losses = [values["alignment/loss"] for _, values in sorted(context.logger.values.items())]
    assert len(losses) == STEPS
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_a_finished_alignment_is_not_made_again(
    context: StageContext,
    initial: Store,
    training_set: TrainingSet,
    aligned: Store,
) -> None:
    unable = replace(context, compute=None)  # type: ignore[arg-type]
    assert align(unable, initial, training_set, RECIPE, DamagePolicy()).url == aligned.url


def test_only_transcripts_can_be_spelled() -> None:
    with pytest.raises(ValueError, match=r"which \['asr', 'lid'\] are not \(all\)"):
        AlignmentRecipe(optimizer=RECIPE.optimizer, mixture=Mixture(tasks={"asr": 1, "lid": 1}))


def test_two_workers_and_micro_batches_learn_as_one(
    context: StageContext, initial: Store, training_set: TrainingSet, tmp_path: Path
) -> None:
    examples, table = training_set.examples, training_set.table
    supervised = SupervisedFactory(
        context.inputs["corpus"], examples, AugmentRecipe(), label_smoothing=0, seed=0
    )
    transcripts = [examples[i][0].answer for i in range(len(table)) if table.task[i] == "asr"]
    characters = "".join(sorted({c for text in transcripts for c in spelling(text)}))
    # Adam's first steps are as long for a gradient of rounding errors as for any other.
    optimizer = RECIPE.optimizer.model_copy(update={"learning_rate": 1e-4})
    plan = Mixture(tasks={"asr": 1}).draw(table, drawing(STEPS, EXAMPLES_PER_STEP)).plan
    assert any(len(set(step)) < len(step) for step in plan.tolist())  # a clip twice in a step
    tuning = TuningRecipe(language_model="frozen")
    alone = Training(initial, SpellingFactory(supervised, characters), plan, optimizer, tuning)
    expected = alone.run(tmp_path / "alone")
    found = alone.under(2, strategy="ddp", max_tokens_per_micro_batch=150).run(tmp_path / "two")
    assert max(len(batches) for batches in found.consumed.values()) > 2
    assert found.losses == pytest.approx(expected.losses, rel=0, abs=1e-4)
