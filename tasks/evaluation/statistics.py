"""Uncertainty of scores: bootstrap intervals, paired tests, and what no skill would score.

Everything works on sufficient statistics [n, k] (see `metrics/metric.py`): one row an item, and a
score that depends on the rows only through their sum. The rows hold counts, so sums are exact and
the same seed gives the same numbers on every machine.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data_contracts.answer_records import EvaluationItem
from tasks.evaluation.metrics.metric import Array, Metric
from tasks.evaluation.metrics.normalisation import strip_tags

Score = Callable[[Array], Array]
"""Totals [..., k] -> scores [...]: `Metric.from_totals`."""

_TWO_SIDED_95 = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, in the units of the score."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Comparison of system B with system A on the same items.

    Attributes:
        difference: score of B minus score of A.
        interval: 95 % interval of the difference.
        p_value: probability of a difference at least this large, in either direction, if it did
            not matter which system gave which answer.
    """

    difference: float
    interval: Interval
    p_value: float


def bootstrap_interval(
    stats: Array, from_totals: Score, seed: int, num_resamples: int = 1000
) -> Interval:
    """Return the percentile bootstrap interval (Efron 1979; for corpus metrics Koehn 2004).

    Items are the sampling unit: the interval says how the score would vary with other items of
    the same kind, not with other training seeds.

    Raises:
        ValueError: where `stats` is not [n, k] with at least one row.
    """
    _check(stats)
    totals = _resample_counts(len(stats), seed, num_resamples) @ stats
    return _interval(from_totals(totals))


def paired_test(
    stats_a: Array, stats_b: Array, from_totals: Score, seed: int, num_resamples: int = 999
) -> PairedTest:
    """Compare two systems that answered the same items, row i of both being item i.

    The p-value is that of approximate randomisation (Noreen 1989): in every round each item's two
    answers change sides with probability 1/2; p = (rounds with |difference| at least as large
    + 1) / (rounds + 1), so that 999 rounds give whole thousandths. The interval is the paired
    bootstrap's (Koehn 2004): both systems are resampled with the same items.

    Raises:
        ValueError: where an array is not [n, k] with at least one row, or the shapes differ.
    """
    _check(stats_a)
    _check(stats_b)
    if stats_a.shape != stats_b.shape:
        raise ValueError(
            f"paired statistics have the shapes {stats_a.shape} and {stats_b.shape}: a paired "
            "test needs both systems on the same items. Score both on every item."
        )
    difference = float(from_totals(stats_b.sum(axis=0)) - from_totals(stats_a.sum(axis=0)))

    swap = np.random.default_rng(seed).integers(0, 2, size=(num_resamples, len(stats_a)))
    moved = swap @ (stats_b - stats_a)
    shuffled = from_totals(stats_b.sum(axis=0) - moved) - from_totals(stats_a.sum(axis=0) + moved)
    # The tolerance keeps rounds that swap all or nothing equal to the observation after rounding.
    num_as_large = int((np.abs(shuffled) >= abs(difference) - 1e-12).sum())

    counts = _resample_counts(len(stats_a), seed, num_resamples)
    resampled = from_totals(counts @ stats_b) - from_totals(counts @ stats_a)
    return PairedTest(difference, _interval(resampled), (num_as_large + 1) / (num_resamples + 1))


def majority_score(
    items: Sequence[EvaluationItem], metric: Metric, train_answers: Sequence[str] = ()
) -> float:
    """Return the score of giving every item the most common answer, in `metric`'s units.

    The answer is the most common one of `train_answers`; without them that of the references,
    which is the best that a constant answer could do. Ties go to the first in the alphabet.

    Raises:
        ValueError: where there are no items.
    """
    if not items:
        raise ValueError("majority_score got no items: a suite needs at least one")
    answers = train_answers or [item.conversation.answer for item in items]
    counts = Counter(strip_tags(answer) for answer in answers)
    constant = min(counts, key=lambda answer: (-counts[answer], answer))
    return metric.aggregate(metric.statistics(items, [constant] * len(items)))


def chance_score(items: Sequence[EvaluationItem], metric: Metric) -> float | None:
    """Return the expected accuracy of a uniform guess among each item's choices.

    None where guessing has no meaning: an open answer, an error rate, a score of sentences.
    """
    if not items or not metric.is_of_labels or any(not item.choices for item in items):
        return None
    return sum(1 / len(item.choices) for item in items) / len(items)


def _check(stats: Array) -> None:
    if stats.ndim != 2 or len(stats) == 0:
        raise ValueError(
            f"statistics have the shape {stats.shape}: they must be [n, k] with at least one "
            "row. Leave suites without items out of the evaluation."
        )


def _resample_counts(num_items: int, seed: int, num_resamples: int) -> Array:
    """Draw how often each item occurs in each resample, [num_resamples, num_items]."""
    rng = np.random.default_rng(seed)
    share = np.full(num_items, 1 / num_items)
    return rng.multinomial(num_items, share, size=num_resamples).astype(np.float64)


def _interval(scores: Array) -> Interval:
    low, high = np.quantile(scores, _TWO_SIDED_95)
    return Interval(float(low), float(high))
