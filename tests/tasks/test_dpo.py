"""What DPO takes as its reference, which pairs it learns from, and what it asks training for."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_contracts.answer_records import PreferencePair
from infra.compute.in_process import InProcess
from infra.storage.store import Store
from model.tuning import TuningRecipe
from tasks import dpo
from tasks.context import StageContext, StageResult
from tasks.dpo import REFERENCE, DpoRecipe
from tasks.objectives.preference import DpoFactory
from tasks.training.objective import ObjectiveModule
from tasks.training.recipe import OptimizerRecipe
from tests.support.recordings import stage_context
from tests.support.spoken_pairs import PAIRS_OF_TEXTS, SpokenPairs, pair_of, write_pairs

RECIPE = DpoRecipe(
    optimizer=OptimizerRecipe(
        steps=7, examples_per_step=3, learning_rate=1e-3, warmup_steps=0, seed=5
    ),
    tuning=TuningRecipe(audio_encoder="frozen"),
    beta=0.25,
)
HELD_BACK = pair_of("t", ("short",), "rain", "A dog barks.", split="test")


class Portions(InProcess):
    """Keeps what the devices are given."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []

    def map_on_devices(
        self, function: Callable[[str, Any], Any], items: Iterable[Any]
    ) -> Iterator[Any]:
        for pairs in items:
            self.given.append([pair.id for pair in pairs])
        # Results come in the order of completion.
        return super().map_on_devices(function, [*items][::-1])


class Asked:
    """What `fit` was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arguments: tuple[Any, ...] = ()
        monkeypatch.setattr(dpo, "fit", self._fit)

    def _fit(self, *arguments: Any) -> None:
        self.arguments = arguments

    @property
    def factory(self) -> DpoFactory:
        factory: DpoFactory = self.arguments[2]
        return factory


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> SpokenPairs:
    return SpokenPairs.make(tmp_path_factory.mktemp("dpo"))


@pytest.fixture
def context(spoken: SpokenPairs, tmp_path: Path) -> StageContext:
    pairs = write_pairs(Store(str(tmp_path / "pairs")), [HELD_BACK, *PAIRS_OF_TEXTS])
    inputs = {"corpus": spoken.corpus, "checkpoint": spoken.checkpoint, "pairs": pairs}
    return replace(stage_context(tmp_path / "dpo", inputs), compute=Portions())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def given(context: StageContext) -> list[list[str]]:
    assert isinstance(context.compute, Portions)
    return context.compute.given


def test_the_reference_is_what_transformers_computes_chosen_first(
    context: StageContext, spoken: SpokenPairs, asked: Asked
) -> None:
    expected = spoken.scores(PAIRS_OF_TEXTS)
    assert all(abs(chosen - rejected) > 1 for chosen, rejected in expected.values())
    dpo.run(context, RECIPE)
    assert list(asked.factory.reference) == list(expected)
    for name, scores in expected.items():
        assert asked.factory.reference[name] == pytest.approx(scores, abs=1e-3)
    stored = json.loads(context.directory.read_text(REFERENCE))
    assert {name: tuple(scores) for name, scores in stored.items()} == asked.factory.reference


def test_pairs_of_the_test_split_are_neither_scored_nor_trained_on(
    context: StageContext, asked: Asked
) -> None:
    result = dpo.run(context, RECIPE)
    names = [pair.id for pair in PAIRS_OF_TEXTS]
    assert [pair.id for pair in asked.factory.pairs] == names
    assert given(context) == [names]
    assert HELD_BACK.id not in json.loads(context.directory.read_text(REFERENCE))
    assert result == StageResult(4, 7 * 3)


@pytest.mark.parametrize(
    ("size", "portions"),
    [(1, ["a", "b", "c", "d"]), (3, ["abc", "d"]), (4, ["abcd"]), (5, ["abcd"])],
)
def test_portions_hold_every_pair_once_and_their_order_of_completion_plays_no_part(
    context: StageContext,
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    portions: list[str],
) -> None:
    def score_portion(*arguments: Any) -> dict[str, tuple[float, float]]:
        return {pair.id: (-1.0, -2.0) for pair in arguments[-1]}

    monkeypatch.setattr(dpo, "_score_portion", score_portion)
    monkeypatch.setattr(dpo, "_PAIRS_PER_TASK", size)
    dpo.run(context, RECIPE)
    assert given(context) == [list(portion) for portion in portions]
    assert list(json.loads(context.directory.read_text(REFERENCE))) == ["a", "b", "c", "d"]


def test_a_kept_reference_is_used_again_and_a_changed_one_is_made_again(
    context: StageContext, asked: Asked
) -> None:
    dpo.run(context, RECIPE)
    first = context.directory.read_bytes(REFERENCE)
    dpo.run(context, RECIPE)
    assert len(given(context)) == 1
    context.directory.write_bytes(REFERENCE, first.replace(b"-", b"", 1))
    dpo.run(context, RECIPE)
    assert len(given(context)) == 2
    assert context.directory.read_bytes(REFERENCE) == first
    assert asked.factory.reference["a"][0] < 0


def test_training_is_asked_for_as_the_recipe_says(
    context: StageContext, spoken: SpokenPairs, asked: Asked
) -> None:
    dpo.run(context, RECIPE)
    where, start, factory, data, optimizer, held_out = asked.arguments
    assert where is context
    assert start.checkpoint.url == f"{spoken.checkpoint.url}/checkpoint"
    assert start.tuning == RECIPE.tuning
    assert (factory.corpus, factory.beta) == (spoken.corpus, 0.25)
    assert optimizer == RECIPE.optimizer
    assert held_out.corpus == spoken.corpus
    # Whole epochs of the four pairs, in another order for another seed.
    drawn = data.plan.ravel()
    assert data.plan.shape == (7, 3)
    assert all(set(drawn[i : i + 4]) == set(range(4)) for i in range(0, 20, 4))
    assert data.shares.tolist() == [0.25] * 4
    other = RECIPE.optimizer.model_copy(update={"seed": 6})
    dpo.run(context, RECIPE.model_copy(update={"optimizer": other}))
    assert not np.array_equal(asked.arguments[3].plan, data.plan)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_policy_and_reference_begin_equal_in_each_precision(
    context: StageContext, spoken: SpokenPairs, asked: Asked, precision: Any
) -> None:
    """So the loss begins at log 2 a pair: eq. 7 with equal models."""
    optimizer = RECIPE.optimizer.model_copy(update={"precision": precision})
    dpo.run(context, RECIPE.model_copy(update={"optimizer": optimizer}))
    objective = asked.factory(spoken.processor)
    module = ObjectiveModule(spoken.model, objective, precision)
    with torch.no_grad():
        loss, counts = module(objective.prepare(range(4), 0))
    assert float(loss) == pytest.approx(4 * np.log(2), abs=1e-5)
    assert counts["reward_margin"] == pytest.approx(0, abs=1e-4)
    exact = spoken.scores(PAIRS_OF_TEXTS)
    errors = [abs(asked.factory.reference[name][0] - exact[name][0]) for name in exact]
    assert (max(errors) > 5e-3) == (precision == "bfloat16")


def test_progress_says_how_many_pairs_have_a_reference(context: StageContext, asked: Asked) -> None:
    said: list[str] = []
    dpo.run(replace(context, progress=said.append), RECIPE)
    assert said == ["reference log-probabilities of 4 pairs stored"]
    assert asked.arguments[0].directory == context.directory


def test_pairs_are_read_from_the_collection(context: StageContext, asked: Asked) -> None:
    dpo.run(context, RECIPE)
    assert asked.factory.pairs == PAIRS_OF_TEXTS
    assert all(isinstance(pair, PreferencePair) for pair in asked.factory.pairs)
