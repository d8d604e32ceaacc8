"""Definition of a metric: all that statistics, report, page and chart know about one.

Every metric is a closed formula over *sums* of per-item numbers, its sufficient statistics. So a
bootstrap resample is one weighted sum of rows; no text is ever scored twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_contracts.answer_records import EvaluationItem

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Units in which people read a score.

    Attributes:
        factor: what a score is multiplied with.
        unit: written after the number, without a space.
        axis: label of the chart's axis; "" where it is the metric's title.
    """

    factor: float
    unit: str
    axis: str


PER_CENT = Scale(100.0, "%", "per cent")
"""Scale of fractions."""
POINTS = Scale(1.0, "", "")
"""Scale of scores that lie in [0, 100] already, such as BLEU."""


@dataclass(frozen=True)
class Verdict:
    """Words with which the report marks a single answer.

    Attributes:
        best: said of an answer that scores what the reference scores.
        other: said of every other answer.
        shows_score: False where these words say all that the score says.
    """

    best: str
    other: str
    shows_score: bool


EXACT = Verdict("exact", "differs", shows_score=True)
"""Another wording may be right too: the mark only says whether it is the reference's."""
RIGHT = Verdict("right", "wrong", shows_score=False)


@dataclass(frozen=True)
class Metric:
    """A corpus metric that depends on its items only through a sum.

    Attributes:
        name: its name in an `EvaluationItem` and in `report.json`.
        title: its name as people write it.
        higher_is_better: False for error rates.
        row: (item, hypothesis) -> k numbers, the item's sufficient statistics.
        from_totals: rows summed over a corpus, [..., k] -> scores, [...].
        item_score: (item, hypothesis) -> score of this one answer, where it is not that of a
            corpus of one item.
        scale: units in which people read a score.
        verdict: how the report marks a single answer.
        is_of_labels: True where an answer is one of the item's choices: a uniform guess among
            them has an expected score, and a suite's answers have a confusion matrix.
        needs_closed_set: True where the score is defined only over choices that all items of a
            suite share.
        secondary: names of the metrics that are shown below this one.
    """

    name: str
    title: str
    higher_is_better: bool
    row: Callable[[EvaluationItem, str], tuple[float, ...]]
    from_totals: Callable[[Array], Array]
    item_score: Callable[[EvaluationItem, str], float] | None = None
    scale: Scale = PER_CENT
    verdict: Verdict = EXACT
    is_of_labels: bool = False
    needs_closed_set: bool = False
    secondary: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Title and direction of improvement, such as "WER ↓"."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"

    @property
    def axis(self) -> str:
        """Label of a chart's axis that shows this metric."""
        return self.scale.axis or self.title

    def statistics(self, items: Sequence[EvaluationItem], hypotheses: Sequence[str]) -> Array:
        """Return the rows of all items, [n, k]; one hypothesis an item, in the same order."""
        rows = [self.row(*pair) for pair in zip(items, hypotheses, strict=True)]
        return np.array(rows, dtype=np.float64)

    def aggregate(self, stats: Array) -> float:
        """Return the corpus score of the rows `stats` [n, k]."""
        return float(self.from_totals(stats.sum(axis=0)))

    def score(self, item: EvaluationItem, hypothesis: str) -> float:
        """Return the score of one answer, in the units of `from_totals`."""
        if self.item_score is not None:
            return self.item_score(item, hypothesis)
        return self.aggregate(self.statistics([item], [hypothesis]))

    def format(self, score: float | None) -> str:
        """Write a score as people read it: "12.5%", BLEU as "12.5", None as "none"."""
        if score is None:
            return "none"
        return f"{score * self.scale.factor:.1f}{self.scale.unit}"

    def format_change(self, difference: float) -> str:
        """Write a signed difference of two scores; differences of per cent are points."""
        return f"{difference * self.scale.factor:+.1f}"


def ratio(totals: Array) -> Array:
    """Divide the first number by the second, [..., 2] -> [...].

    As in jiwer, edits against nothing count as one word each.
    """
    return np.asarray(totals[..., 0] / np.maximum(totals[..., 1], 1.0))
