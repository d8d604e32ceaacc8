"""What the alignment asks training for, and its loss by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_contracts.records import Conversation, Turn
from infra.storage.kept_files import keep_folder
from infra.storage.store import Store
from model.augment import AugmentRecipe
from model.costs.flops import encoder_flops, sizes_of
from model.ctc import class_embeddings, class_log_probs
from model.encoder import encode_audio
from model.tuning import TuningRecipe
from tasks.context import StageContext
from tasks.objectives import alignment
from tasks.objectives.alignment import (
    ALIGNMENT,
    AlignmentLogger,
    AlignmentRecipe,
    SpellingFactory,
    SpellingObjective,
    align,
)
from tasks.objectives.supervised import SupervisedFactory
from tasks.training.recipe import OptimizerRecipe
from tasks.training_data.damaged_clips import DamagePolicy, Skipping
from tasks.training_data.example_table import Column, ExampleTable
from tasks.training_data.examples import TrainingSet
from tasks.training_data.mixture import Mixture
from tests.support.recordings import stage_context
from tests.support.spoken_pairs import UNCHANGED, SpokenPairs

NOISY = AugmentRecipe(num_mel_masks=0)


def spoken_text(name: str, answer: str, clip: str, task: str = "asr") -> tuple[Conversation, ...]:
    turns = (Turn(role="user", text="say", audio=(clip,)), Turn(role="assistant", text=answer))
    return (Conversation(id=name, format="completion", turns=turns, task=task),)


EXAMPLES = (
    spoken_text("a", "Dog!", "short"),
    spoken_text("b", "rain", "long"),
    spoken_text("c", "Zebra", "middle", task="sound"),
    spoken_text("d", "dog", "short"),
)
TABLE = ExampleTable(
    task=Column.of(["asr", "asr", "sound", "asr"]),
    language=Column.of(["en"] * 4),
    corpus=Column.of(["x"] * 4),
    num_samples=np.full(4, 16_000),
    num_audio_tokens=np.full(4, 25),
)
HEARD = "adginor"
"""Letters of the transcripts "dog" and "rain"."""
RECIPE = AlignmentRecipe(
    optimizer=OptimizerRecipe(
        steps=50, examples_per_step=2, learning_rate=1e-3, warmup_steps=0, seed=4
    ),
    augment=NOISY,
    mixture=Mixture(tasks={"asr": 1}, epochs=4),
)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> SpokenPairs:
    return SpokenPairs.make(tmp_path_factory.mktemp("spelling"))


def objective(spoken: SpokenPairs, skipping: Skipping | None = None) -> SpellingObjective:
    parts = SupervisedFactory(spoken.corpus, EXAMPLES, UNCHANGED, 0.0, seed=0, skipping=skipping)
    return SpellingFactory(parts, HEARD)(spoken.processor)


def loss_of(spoken: SpokenPairs, found: SpellingObjective, examples: list[int]) -> float:
    with torch.no_grad():
        return float(found.outcome(spoken.model, found.prepare(examples, 0)).loss)


def ways(log_probs: np.ndarray, target: list[int]) -> float:
    """-log P of a transcript by eq. 6-8 of Graves et al. 2006: the forward variables."""
    spaced = [0]
    for label in target:
        spaced += [label, 0]
    alpha = np.full(len(spaced), -np.inf)
    alpha[:2] = log_probs[0, spaced[:2]]
    for row in log_probs[1:]:
        before = alpha
        alpha = np.array(
            [
                np.logaddexp.reduce(
                    [before[s]]
                    + ([before[s - 1]] if s else [])
                    + ([before[s - 2]] if s > 1 and spaced[s] not in (0, spaced[s - 2]) else [])
                )
                + row[spaced[s]]
                for s in range(len(spaced))
            ]
        )
    return -float(np.logaddexp(alpha[-1], alpha[-2]))


def test_the_loss_of_a_clip_is_graves_forward_variable_by_hand(spoken: SpokenPairs) -> None:
    found = objective(spoken)
    prepared = found.prepare([1], 0)
    with torch.no_grad():
        audio, _ = encode_audio(spoken.model, prepared.batch.features)
        embeddings = class_embeddings(spoken.model, found._alphabet)
        log_probs = class_log_probs(audio, embeddings).double().numpy()
    target = [HEARD.index(letter) + 1 for letter in "rain"]
    assert loss_of(spoken, found, [1]) == pytest.approx(ways(log_probs, target), rel=1e-4)


def test_losses_add_up_in_any_order_and_a_clip_that_comes_twice_counts_twice(
    spoken: SpokenPairs,
) -> None:
    found = objective(spoken)
    each = [loss_of(spoken, found, [example]) for example in range(4)]
    assert each[0] == pytest.approx(each[3], rel=1e-6), "case and punctuation can't be heard"
    for examples in ([0, 1], [1, 0], [0, 1, 3], [1, 0, 0]):
        expected = sum(each[example] for example in examples)
        assert loss_of(spoken, found, examples) == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_a_mean_over_the_characters_of_transcripts(spoken: SpokenPairs) -> None:
    found = objective(spoken)
    assert found.prepare([0], 0).weight == 3
    prepared = found.prepare((1, 3, 0), 0)
    assert (prepared.weight, prepared.examples) == (4 + 3 + 3, (1, 3, 0))
    with torch.no_grad():
        counts = found.outcome(spoken.model, prepared).counts
    positions = sizes_of(prepared.batch).window_positions
    assert counts["flops"] == encoder_flops(spoken.model.config, positions).trained
    assert counts["tokens"] == len(prepared.batch.input_ids)


def test_a_skipped_clip_has_no_transcript(tmp_path: Path) -> None:
    spoken = SpokenPairs.make(tmp_path)
    alone = loss_of(spoken, objective(spoken), [1])
    row = spoken.reader.row("short")
    path = Path(spoken.corpus.path(row.shard))
    data = bytearray(path.read_bytes())
    data[row.offset + row.size // 2] ^= 1
    path.write_bytes(data)
    found = objective(spoken, Skipping(Store(str(tmp_path / "stage")), 0.001))
    assert found.prepare([0, 1], 0).weight == 4
    assert loss_of(spoken, found, [0, 1]) == pytest.approx(alone, rel=1e-4)


class Kept:
    """A logger that keeps what it gets."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def metrics(self, values: Any, step: int) -> None:
        self.calls.append((values, step))

    def tags(self, values: Any) -> None:
        self.calls.append((values,))

    def text(self, content: str, file: str) -> None:
        self.calls.append((content, file))

    def table(self, rows: Any, file: str) -> None:
        self.calls.append((rows, file))


def test_what_the_alignment_logs_lies_apart_from_what_the_stage_logs() -> None:
    kept = Kept()
    logger = AlignmentLogger(kept)
    logger.metrics({"loss": 0.5}, 3)
    logger.tags({"q2a.audit": "exact"})
    logger.text("stacks", "stall.txt")
    logger.table([{"step": "1"}], "held_out_answers.json")
    assert kept.calls == [
        ({"alignment/loss": 0.5}, 3),
        ({"q2a.audit": "exact"},),
        ("stacks", "alignment/stall.txt"),
        ([{"step": "1"}], "alignment/held_out_answers.json"),
    ]


def test_training_is_asked_for_transcripts_below_the_stages_folder_until_it_is_finished(
    spoken: SpokenPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Any, ...]] = []

    def fit(where: StageContext, *arguments: Any) -> dict[str, float]:
        given.append((where, *arguments))
        where.directory.write_text("checkpoint/model.safetensors", "weights")
        return {}

    monkeypatch.setattr(alignment, "fit", fit)
    context = stage_context(tmp_path, {"corpus": spoken.corpus})
    initial, examples = Store(str(tmp_path / "initial")), TrainingSet(EXAMPLES, TABLE)
    damage = DamagePolicy(on_damaged="skip", max_share=0.25)
    result = align(context, initial, examples, RECIPE, damage)
    where, start, factory, data, optimizer = given[0]
    assert where.directory.url == context.directory.below(ALIGNMENT).url
    logger = AlignmentLogger(context.logger)
    assert where == replace(context, directory=where.directory, logger=logger)
    assert start.checkpoint == initial
    assert start.tuning == TuningRecipe(audio_encoder="full", language_model="frozen")
    supervised = SupervisedFactory(
        spoken.corpus, EXAMPLES, NOISY, 0.0, 4, (), Skipping(context.directory, 0.25)
    )
    assert factory == SpellingFactory(supervised, HEARD)
    # Four epochs of the three transcribed clips, two a step.
    assert set(data.plan.ravel()) == {0, 1, 3}
    assert optimizer == RECIPE.optimizer.model_copy(update={"steps": 6})
    assert result.url == context.directory.below(f"{ALIGNMENT}/checkpoint").url
    assert result.read_text("model.safetensors") == "weights"
    align(context, initial, examples, RECIPE, damage)
    assert len(given) == 1
    result.write_text("model.safetensors", "Weights")
    align(context, initial, examples, RECIPE, damage)
    assert len(given) == 2
    keep_folder(context.directory.below(ALIGNMENT), "checkpoint")
    align(context, initial, examples, RECIPE, damage)
    assert len(given) == 2


@pytest.mark.parametrize("how", ["full", "lora", "frozen"])
def test_the_audio_side_learns_as_the_recipe_says_and_the_language_model_never(how: Any) -> None:
    recipe = AlignmentRecipe(optimizer=RECIPE.optimizer, audio_encoder=how)
    assert recipe.tuning == TuningRecipe(audio_encoder=how, language_model="frozen")
