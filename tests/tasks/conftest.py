"""One small training that several tests carry out under many conditions."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_contracts.records import Conversation, Turn
from model.augment import AugmentRecipe
from model.checkpoints.construct import ModelRecipe
from model.tuning import TuningRecipe
from tasks import ingest, start
from tasks.conversations.dialogues import DialogueRecipe
from tasks.conversations.task_table import shipped_tasks
from tasks.corpus.index import CorpusIndex
from tasks.ingest import IngestRecipe
from tasks.initial_model.build import StartRecipe
from tasks.objectives.supervised import SupervisedFactory
from tasks.sources.manifest import DataSource
from tasks.training.fit import CHECKPOINT
from tasks.training.recipe import OptimizerRecipe
from tasks.training_data.examples import ClipTable, completion_examples
from tests.support import golden_losses
from tests.support.recordings import stage_context
from tests.support.training_jobs import EXAMPLES_PER_STEP, STEPS, TEXT_ONLY_STEP, Finished, Training

TASKS = shipped_tasks()
RECIPE = OptimizerRecipe(
    steps=STEPS, examples_per_step=EXAMPLES_PER_STEP, learning_rate=3e-3, warmup_steps=3,
    rate_factors={"audio_encoder": 0.5},
)  # fmt: skip
TINY = ModelRecipe(
    audio_layers=2, audio_width=32, audio_heads=2, audio_ffn=64,
    text_layers=2, text_width=34, text_heads=1, text_kv_heads=1, text_ffn=62, vocab_size=512,
)  # fmt: skip
"""Widths that no two or three workers divide evenly."""


@pytest.fixture(scope="session")
def training(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Real recordings, and dialogues of text alone; one step has nothing else."""
    folder = tmp_path_factory.mktemp("training")
    corpus = stage_context(folder / "corpus")
    # The golden losses are of a tokenizer that knew no dialogues about speech.
    recipe = IngestRecipe(dialogues=DialogueRecipe(limits={"asr": 0, "s2tt": 0}))
    ingest.run(corpus, recipe, DataSource(manifest=str(small_manifest)))
    index = CorpusIndex(corpus.directory)
    initial = stage_context(folder / "start", {"corpus": corpus.directory})
    start.run(initial, StartRecipe(model=TINY))
    spoken = completion_examples(index, ClipTable.of(index, TASKS), TASKS, "natural").examples
    short = {clip.id for clip in index if clip.num_samples < 3 * 16_000}
    every = (spoken[number] for number in range(len(spoken)))
    heard = [variants for variants in every if set(variants[0].clip_ids) <= short]
    written = [(sum_dialogue(number),) for number in range(12)]
    draw = np.random.default_rng(0)
    plan = draw.choice(len(heard), (STEPS, EXAMPLES_PER_STEP), replace=False)
    plan[:, 0] = len(heard) + draw.choice(len(written), STEPS)
    plan[TEXT_ONLY_STEP] = len(heard) + np.arange(EXAMPLES_PER_STEP)
    factory = SupervisedFactory(
        corpus.directory, (*heard, *written), AugmentRecipe(), label_smoothing=0.05, seed=0
    )
    return Training(initial.directory.below(CHECKPOINT), factory, plan, RECIPE, TuningRecipe())


def sum_dialogue(number: int) -> Conversation:
    turns = (
        Turn(role="user", text=f"What is {number} + {number}?"),
        Turn(role="assistant", text=f"{2 * number}."),
    )
    return Conversation(id=f"sum-{number}", format="chat", turns=turns, task="voice_chat")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Sequence[float]], None]:
    """Takes the losses of a run by name: compares them with those on record, or records them."""
    renew = request.config.getoption("--renew-golden-losses")
    return golden_losses.record if renew else golden_losses.compare


@pytest.fixture(scope="session")
def alone(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One process, each step in one micro-batch: what all others must equal."""
    return training.run(tmp_path_factory.mktemp("alone"))
