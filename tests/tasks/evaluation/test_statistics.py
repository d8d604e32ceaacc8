"""Intervals and tests against scipy, exact enumeration and hand calculations."""

from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from data_contracts.answer_records import EvaluationItem
from data_contracts.records import Conversation, Turn
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


def test_the_smallest_p_value_is_one_in_a_thousand() -> None:
    """40 of 40 items better: no random exchange of the sides comes near (2 of 2^40 do)."""
    test = paired_test(accuracy_rows([0] * 40), accuracy_rows([1] * 40), ratio, seed=0)
    assert test.p_value == 1 / 1000
    assert (test.difference, test.interval.low, test.interval.high) == (1, 1, 1)


def test_both_systems_are_resampled_with_the_same_items() -> None:
    """One edit more in every word: whatever items are drawn, the difference is 1."""
    words = np.ones(30)
    before = np.stack([np.arange(30.0), words], axis=1)
    after = before + np.array([1.0, 0.0])
    test = paired_test(before, after, ratio, seed=3)
    assert (test.interval.low, test.interval.high) == pytest.approx((1, 1), abs=1e-12)


def test_the_interval_of_a_difference_agrees_with_scipys() -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(3, 15, size=60).astype(float)
    edits = [rng.binomial(words.astype(int), share).astype(float) for share in (0.3, 0.2)]
    rows = [np.stack([some, words], axis=1) for some in edits]
    test = paired_test(rows[0], rows[1], ratio, seed=1, num_resamples=5000)
    theirs = scipy_stats.bootstrap(
        (*edits, words),
        lambda a, b, n, axis: (b.sum(axis=axis) - a.sum(axis=axis)) / n.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert test.difference == pytest.approx((edits[1] - edits[0]).sum() / words.sum())
    assert (test.interval.low, test.interval.high) == pytest.approx(tuple(theirs), abs=0.006)


def test_chance_is_a_mean_over_items_and_none_where_one_item_is_open() -> None:
    accuracy = METRICS.named("accuracy")
    two, four = (make_items(["a"], choices=tuple("abcd"[:n])) for n in (2, 4))
    assert chance_score([*two, *four], accuracy) == (1 / 2 + 1 / 4) / 2
    assert chance_score([*two, *make_items(["a"])], accuracy) is None
    assert chance_score([], accuracy) is None


def test_majority_compares_answers_without_tags() -> None:
    items = make_items(["<|en|>dog", "dog", "cat", "cat", "dog "])
    assert majority_score(items, METRICS.named("accuracy")) == 3 / 5


def test_statistics_without_columns_are_refused_on_either_side() -> None:
    good = accuracy_rows([0, 1])
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        bootstrap_interval(np.ones(2), ratio, seed=0)
    for one, other in ((good, np.zeros((0, 2))), (np.zeros((0, 2)), good)):
        with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
            paired_test(one, other, ratio, seed=0)
