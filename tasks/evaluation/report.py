"""The evaluation report: its data, and its table for the terminal.

`report.json` is `Report.model_dump_json()`. `report_builder.py` makes a report from predictions,
`report_page.py` renders it as HTML.
"""

from rich.table import Table
from rich.text import Text

from data_contracts.records import Record
from tasks.evaluation.metrics.metric import Metric
from tasks.evaluation.metrics.table import METRICS, MetricTable

OTHER = "(other)"
"""The column of a confusion matrix for answers outside the closed set."""


class SuiteResult(Record):
    """Result of one suite at one checkpoint; scores are in the units of its `Metric`."""

    suite: str
    checkpoint: str
    metric: str
    higher_is_better: bool
    n: int
    """Number of items."""
    value: float
    low: float
    """95 % bootstrap interval over items, as is `high`."""
    high: float
    chance: float | None
    """Expected score of a uniform guess; None where guessing has no meaning."""
    majority: float
    """Score of always giving the most common answer."""
    secondary: dict[str, float]
    """Further metrics of the same answers, by name."""


class Comparison(Record):
    """Comparison of a checkpoint with the one before it, on the same items of one suite."""

    suite: str
    metric: str
    higher_is_better: bool
    before: str
    after: str
    difference: float
    """Score after minus score before."""
    low: float
    high: float
    p_value: float
    """Two-sided approximate randomisation, not corrected for the number of comparisons."""

    @property
    def verdict(self) -> str:
        """ "better", "worse", or "no clear difference" where p is 0.05 or more."""
        if self.p_value >= 0.05 or self.difference == 0:
            return "no clear difference"
        return "better" if (self.difference > 0) == self.higher_is_better else "worse"


class Confusion(Record):
    """Confusion matrix of one closed-set suite at one checkpoint: references by answers."""

    suite: str
    checkpoint: str
    classes: tuple[str, ...]
    """The classes of the references, then `OTHER`: the columns of `counts`."""
    counts: tuple[tuple[int, ...], ...]
    """[class of the reference, class of the answer]."""


class ExampleAnswer(Record):
    """Answer of one checkpoint to an example."""

    checkpoint: str
    text: str
    score: float
    right: bool
    """Whether it scores what the reference scores: no edits, the right label, the right mode."""


class Example(Record):
    """One item with the answers of all checkpoints, for people to listen to."""

    id: str
    suite: str
    metric: str
    question: str
    clip_ids: tuple[str, ...]
    reference: str
    answers: tuple[ExampleAnswer, ...]


class Report(Record):
    """All results of an evaluation."""

    title: str
    checkpoints: tuple[str, ...]
    results: tuple[SuiteResult, ...]
    comparisons: tuple[Comparison, ...]
    confusions: tuple[Confusion, ...]
    examples: tuple[Example, ...]
    provenance: dict[str, str]
    """Where the numbers come from, by label: fingerprints, run, seed."""

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites, in the order of the results."""
        return tuple(dict.fromkeys(result.suite for result in self.results))

    def result(self, suite: str, checkpoint: str) -> SuiteResult:
        """Return the result of one suite at one checkpoint.

        Raises:
            KeyError: where the report has none.
        """
        for result in self.results:
            if (result.suite, result.checkpoint) == (suite, checkpoint):
                return result
        raise KeyError(
            f"the report has no result for suite {suite!r} at checkpoint {checkpoint!r}: it has "
            f"{', '.join(f'{r.suite}/{r.checkpoint}' for r in self.results)}"
        )


def format_difference(comparison: Comparison, metric: Metric) -> str:
    """Return a signed difference with its interval; differences of per cent are points."""
    value, low, high = (
        metric.format_change(number)
        for number in (comparison.difference, comparison.low, comparison.high)
    )
    return f"{value} [{low}, {high}]"


def format_p_value(p_value: float) -> str:
    """Write a probability with three decimals, and "< 0.001" below what they can say."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def format_table(report: Report, metrics: MetricTable = METRICS) -> Table:
    """Lay out the results for a terminal: suites are rows, checkpoints are columns."""
    table = Table(title=Text(report.title), caption="value [95% interval over items]")
    table.add_column("suite")
    table.add_column("metric")
    table.add_column("items", justify="right")
    for name in (*report.checkpoints, "chance", "majority"):
        table.add_column(Text(name), justify="right")
    for suite in report.suites:
        row = [report.result(suite, name) for name in report.checkpoints]
        metric = metrics.named(row[0].metric)
        cells = [
            f"{metric.format(result.value)} "
            f"[{metric.format(result.low)}, {metric.format(result.high)}]"
            for result in row
        ]
        baselines = (row[0].chance, row[0].majority)
        # Text, not str: rich would read "[...]" of a name or an interval as markup.
        table.add_row(
            Text(suite),
            Text(metric.label),
            Text(str(row[0].n)),
            *(Text(cell) for cell in cells),
            *(Text(metric.format(score)) for score in baselines),
        )
    return table
