"""Intervals and tests against scipy, exact enumeration and hand calculations."""

from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from data_contracts.records import Conversation, EvaluationItem, Turn
from tasks.evaluation.metrics.table import METRICS
from tasks.evaluation.statistics import (
    bootstrap_interval,
    chance_score,
    majority_score,
    paired_test,
)

ratio = METRICS.named("accuracy").from_totals


def make_items(
    references: list[str], metric: str = "accuracy", choices: tuple[str, ...] = ()
) -> list[EvaluationItem]:
    return [
        EvaluationItem(
            conversation=Conversation(
                id=str(i),
                format="completion",
                turns=(Turn(role="user", audio=("c",)), Turn(role="assistant", text=reference)),
                task="sound",
            ),
            suite="s",
            metric=metric,
            choices=choices,
        )
        for i, reference in enumerate(references)
    ]


def accuracy_rows(outcomes: list[int]) -> np.ndarray:
    return np.array([[right, 1.0] for right in outcomes])


def test_bootstrap_of_an_accuracy_is_the_binomial_interval() -> None:
    n, right = 200, 140
    interval = bootstrap_interval(
        accuracy_rows([1] * right + [0] * (n - right)), ratio, seed=1, num_resamples=20_000
    )
    low, high = scipy_stats.binom(n, right / n).ppf([0.025, 0.975]) / n
    assert interval.low == pytest.approx(low, abs=1.5 / n)
    assert interval.high == pytest.approx(high, abs=1.5 / n)


def test_bootstrap_of_a_corpus_rate_agrees_with_scipys() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 15, size=80)
    rows = np.stack([rng.binomial(lengths, 0.2), lengths], axis=1).astype(float)
    interval = bootstrap_interval(rows, ratio, seed=1, num_resamples=5000)
    theirs = scipy_stats.bootstrap(
        (rows[:, 0], rows[:, 1]),
        lambda edits, words, axis: edits.sum(axis=axis) / words.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert interval.low == pytest.approx(theirs.low, abs=0.005)
    assert interval.high == pytest.approx(theirs.high, abs=0.005)


def test_the_interval_of_equal_items_is_a_point() -> None:
    interval = bootstrap_interval(accuracy_rows([1] * 5), ratio, seed=3)
    assert (interval.low, interval.high) == (1, 1)


def test_p_value_approaches_the_exact_randomisation_test() -> None:
    a, b = [0, 0, 0, 0, 1, 0, 1, 0], [1, 1, 1, 0, 1, 1, 0, 1]
    observed = abs(sum(b) - sum(a))
    shuffles = [
        sum(sign * (y - x) for sign, x, y in zip(signs, a, b, strict=True))
        for signs in product((-1, 1), repeat=len(a))
    ]
    exact = sum(abs(total) >= observed for total in shuffles) / len(shuffles)
    test = paired_test(accuracy_rows(a), accuracy_rows(b), ratio, seed=4, num_resamples=20_000)
    assert test.difference == pytest.approx(4 / 8)
    assert test.p_value == pytest.approx(exact, abs=0.01)
    # On 0/1 outcomes the test is McNemar's exact one: 5 of 6 discordant items went up.
    assert exact == pytest.approx(scipy_stats.binomtest(5, 6).pvalue)


def test_equal_systems_do_not_differ() -> None:
    rows = accuracy_rows([0, 1, 1, 0, 1])
    test = paired_test(rows, rows, ratio, seed=5)
    assert (test.difference, test.p_value) == (0, 1)
    assert (test.interval.low, test.interval.high) == (0, 0)


def test_pairing_finds_what_the_separate_intervals_hide() -> None:
    rng = np.random.default_rng(6)
    before = rng.integers(0, 2, size=300)
    after = np.where(np.arange(300) % 12 == 0, 1, before)
    rows = accuracy_rows(before.tolist()), accuracy_rows(after.tolist())
    intervals = [bootstrap_interval(stats, ratio, seed=6) for stats in rows]
    assert intervals[0].high > intervals[1].low  # they overlap
    test = paired_test(*rows, ratio, seed=6)
    assert test.p_value < 0.01
    assert test.interval.low > 0


def test_exchanging_the_systems_changes_only_the_sign() -> None:
    a, b = accuracy_rows([0, 0, 1, 0, 1, 1]), accuracy_rows([1, 1, 1, 0, 1, 0])
    there, back = paired_test(a, b, ratio, seed=7), paired_test(b, a, ratio, seed=7)
    assert back.difference == -there.difference
    assert back.p_value == there.p_value
    assert (back.interval.low, back.interval.high) == pytest.approx(
        (-there.interval.high, -there.interval.low)
    )


def test_the_same_seed_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(8)
    a, b = (rng.integers(0, 9, size=(40, 2)).astype(float) + 1 for _ in range(2))
    assert bootstrap_interval(a, ratio, seed=9) == bootstrap_interval(a, ratio, seed=9)
    assert bootstrap_interval(a, ratio, seed=9) != bootstrap_interval(a, ratio, seed=10)
    assert paired_test(a, b, ratio, seed=9) == paired_test(a, b, ratio, seed=9)


def test_majority_prefers_training_answers_and_breaks_ties_by_alphabet() -> None:
    items = make_items(["dog", "cat", "dog", "cow"])
    accuracy = METRICS.named("accuracy")
    assert majority_score(items, accuracy) == 2 / 4
    assert majority_score(items, accuracy, ["cow", "cow", "dog"]) == 1 / 4
    assert majority_score(items, accuracy, ["cow", "cat"]) == 1 / 4
    transcripts = make_items(["a b", "a c"], "wer")
    assert majority_score(transcripts, METRICS.named("wer"), ["a x"]) == 2 / 4


def test_chance_is_one_over_the_choices_and_none_for_open_answers() -> None:
    accuracy, wer = METRICS.named("accuracy"), METRICS.named("wer")
    items = make_items(["a", "b"], choices=("a", "b", "c", "d"))
    assert chance_score(items, accuracy) == 1 / 4
    assert chance_score(make_items(["a", "b"]), accuracy) is None
    assert chance_score(make_items(["a"], "wer", ("a", "b")), wer) is None


def test_empty_and_unpaired_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(0, 2\).*at least one row"):
        bootstrap_interval(np.zeros((0, 2)), ratio, seed=0)
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(3, 2\).*same items"):
        paired_test(accuracy_rows([0, 1]), accuracy_rows([0, 1, 1]), ratio, seed=0)
    with pytest.raises(ValueError, match="no items"):
        majority_score([], METRICS.named("accuracy"))
