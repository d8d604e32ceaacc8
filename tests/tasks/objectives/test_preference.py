"""The preference objective against equation 7 of Rafailov et al. 2023 and transformers' forward."""

import math
from dataclasses import replace

import pytest
import torch

from model.costs.flops import step_flops
from tasks.evaluation.answerer import Answerer
from tasks.objectives import preference
from tasks.objectives.preference import DpoFactory, DpoObjective, score_pairs
from tasks.objectives.supervised import batch_counts
from tasks.training.objective import ExampleSource
from tests.support.spoken_pairs import PAIRS_OF_TEXTS, SECONDS, SpokenPairs

BETA = 0.2


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> SpokenPairs:
    return SpokenPairs.make(tmp_path_factory.mktemp("preference"))


@pytest.fixture(scope="module")
def answerer(spoken: SpokenPairs) -> Answerer:
    return Answerer(spoken.model, spoken.processor, spoken.reader)


@pytest.fixture(scope="module")
def scores(answerer: Answerer) -> dict[str, tuple[float, float]]:
    return score_pairs(answerer, PAIRS_OF_TEXTS)


def objective(spoken: SpokenPairs, reference: dict[str, tuple[float, float]]) -> DpoObjective:
    return DpoFactory(spoken.corpus, PAIRS_OF_TEXTS, reference, BETA)(spoken.processor)


def test_scores_are_those_of_transformers_forward_whatever_is_scored_together(
    spoken: SpokenPairs,
    answerer: Answerer,
    scores: dict[str, tuple[float, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = spoken.scores(PAIRS_OF_TEXTS)
    for at_once in (1, 3, 4):
        monkeypatch.setattr(preference, "_PAIRS_AT_ONCE", at_once)
        found = score_pairs(answerer, PAIRS_OF_TEXTS)
        assert list(found) == list(expected)
        for name, pair in expected.items():
            assert found[name] == pytest.approx(pair, abs=1e-3)
    assert score_pairs(answerer, ()) == {}
    assert all(isinstance(score, float) for pair in scores.values() for score in pair)


def test_loss_and_rewards_are_the_equations_by_hand(
    spoken: SpokenPairs, scores: dict[str, tuple[float, float]]
) -> None:
    """How much more probable than for the reference the answers are, in nats."""
    gains = {"a": (1.0, -2.0), "b": (-3.0, 0.5), "c": (0.25, 0.25), "d": (2.0, 1.0)}
    reference = {
        name: (scores[name][0] - gain[0], scores[name][1] - gain[1]) for name, gain in gains.items()
    }
    found = objective(spoken, reference)
    for numbers, names in (([0, 1, 3], "abd"), ([3], "d"), ([1, 0], "ba")):
        with torch.no_grad():
            outcome = found.outcome(spoken.model, found.prepare(numbers, 0))
        margins = [BETA * (gains[name][0] - gains[name][1]) for name in names]
        loss = sum(math.log(1 + math.exp(-margin)) for margin in margins)
        assert float(outcome.loss) == pytest.approx(loss, abs=1e-4)
        assert outcome.counts["reward_margin"] == pytest.approx(sum(margins), abs=1e-4)
        assert outcome.counts["reward_accuracy"] == sum(margin > 0 for margin in margins)
        chosen = sum(BETA * gains[name][0] for name in names)
        assert outcome.counts["chosen_reward"] == pytest.approx(chosen, abs=1e-4)


def test_a_tie_counts_as_no_win_and_a_loss_of_log_2(
    spoken: SpokenPairs, scores: dict[str, tuple[float, float]]
) -> None:
    found = objective(spoken, scores)
    with torch.no_grad():
        outcome = found.outcome(spoken.model, found.prepare(range(4), 0))
    assert float(outcome.loss) == pytest.approx(4 * math.log(2))
    assert outcome.counts["reward_accuracy"] == 0
    assert outcome.counts["reward_margin"] == 0


def test_a_step_along_the_gradient_prefers_the_chosen_answer(
    spoken: SpokenPairs, scores: dict[str, tuple[float, float]]
) -> None:
    found = objective(spoken, scores)
    weight = spoken.model.lm_head.weight
    before = weight.detach().clone()
    (gradient,) = torch.autograd.grad(
        found.outcome(spoken.model, found.prepare(range(4), 0)).loss, weight
    )
    with torch.no_grad():
        weight -= 1e-3 * gradient
        after = found.outcome(spoken.model, found.prepare(range(4), 0))
        weight.copy_(before)
    assert float(after.loss) < 4 * math.log(2)
    assert after.counts["reward_margin"] > 0


def test_the_loss_is_a_mean_over_pairs_and_nothing_in_it_depends_on_the_step(
    spoken: SpokenPairs, scores: dict[str, tuple[float, float]]
) -> None:
    found = objective(spoken, scores)
    first, second = (found.prepare([3, 1], step) for step in (0, 9))
    assert (first.examples, first.weight) == ((3, 1), 2)
    assert torch.equal(first.batch.input_ids, second.batch.input_ids)
    for one, other in zip(first.batch.features, second.batch.features, strict=True):
        assert torch.equal(one, other)


def test_counts_are_those_of_the_batch(
    spoken: SpokenPairs, scores: dict[str, tuple[float, float]]
) -> None:
    """A packed row has no padding; "short" is heard by two pairs and encoded once."""
    found = objective(spoken, scores)
    prepared = found.prepare([0, 1], 0)
    with torch.no_grad():
        counts = found.outcome(spoken.model, prepared).counts
    assert counts["tokens"] == sum(load.tokens for load in found.loads([0, 1]))
    assert counts["padding_tokens"] == 0
    # Two frames of 10 ms of a window's features lie after its signal.
    seconds = SECONDS["short"] + SECONDS["long"]
    assert seconds <= counts["audio_seconds"] <= seconds + 2 * 0.03
    assert counts["flops"] == step_flops(spoken.model, prepared.batch)
    padded = replace(prepared.batch, input_ids=torch.cat([prepared.batch.input_ids] * 2))
    doubled = batch_counts(spoken.model, padded)
    assert doubled["padding_tokens"] == len(prepared.batch.input_ids)


def test_an_example_is_named_by_its_pair_with_the_shards_of_its_clips(spoken: SpokenPairs) -> None:
    shards = {row.id: row.shard for row in map(spoken.reader.row, SECONDS)}
    assert len(set(shards.values())) == len(SECONDS)
    assert objective(spoken, {}).sources([1, 2]) == [
        ExampleSource("b", ("long", "short"), (shards["long"], shards["short"])),
        ExampleSource("c", (), ()),
    ]
