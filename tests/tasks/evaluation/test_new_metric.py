"""A new metric is one entry: statistics, report, terminal, page and chart follow it."""

import re

from data_contracts.answer_records import EvaluationItem
from tasks.evaluation.answered_suites import Evaluation
from tasks.evaluation.metrics.metric import Metric, Scale, Verdict, ratio
from tasks.evaluation.metrics.table import METRICS, MetricTable
from tasks.evaluation.report import Report
from tasks.evaluation.report_builder import build_report
from tasks.evaluation.report_page import render_report
from tests.support.html_page import Page
from tests.tasks.evaluation.small_evaluation import make_item, predict, terminal_text


def _seconds_off(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    return (abs(float(hypothesis) - float(item.conversation.answer)), 1.0)


ONSET_ERROR = Metric(
    "onset_error",
    "mean onset error",
    higher_is_better=False,
    row=_seconds_off,
    from_totals=ratio,
    scale=Scale(1000.0, " ms", "milliseconds"),
    verdict=Verdict("on time", "off", shows_score=True),
    secondary=("cer",),
)
TABLE = MetricTable((*METRICS.metrics, ONSET_ERROR))


def make_report() -> Report:
    references = ("1.5", "2.0", "3.25")
    items = [make_item("onset", i, text, "onset_error") for i, text in enumerate(references)]
    answers = {"base": ["1.0", "2.0", "3.0"], "sft": ["1.5", "2.0", "3.5"]}
    evaluation = Evaluation(
        title="New",
        checkpoints=tuple(answers),
        items=items,
        predictions=predict(items, answers, TABLE),
        train_answers={},
        provenance={},
    )
    return build_report(evaluation, seed=0, metrics=TABLE)


def test_statistics_and_report_know_it() -> None:
    result = make_report().result("onset", "base")
    assert (result.metric, result.higher_is_better, result.chance) == ("onset_error", False, None)
    assert result.value == (0.5 + 0 + 0.25) / 3
    assert result.low <= result.value <= result.high
    # "1 0", "2 0" and "3 0" for "1 5", "2 0" and "3 25", without spaces: 3 edits of 7 characters.
    assert result.secondary == {"cer": 3 / 7}
    (comparison,) = make_report().comparisons
    assert comparison.difference == 0.25 / 3 - 0.75 / 3


def test_the_terminal_table_writes_it_in_its_unit() -> None:
    text = terminal_text(make_report(), TABLE)
    assert re.search(r"onset\W+mean onset error ↓\W+3\W+250\.0 ms \[", text)


def test_the_page_and_its_chart_show_title_unit_verdict_and_axis() -> None:
    page = Page(render_report(make_report(), {}, TABLE))
    for expected in ("83.3 ms", "-166.7 [", "CER 42.9%", "✓ on time", "✗ off", "milliseconds"):
        assert expected in page.text
    assert page.text.count("onset (mean onset error ↓)") == 1  # the row of the chart
