"""The evaluation report as one HTML file that needs nothing else: no network, no scripts.

Everything that comes from data (answers of a model above all) passes `html.escape`.
"""

import base64
import html
from collections.abc import Mapping

from tasks.evaluation.metrics.metric import Metric
from tasks.evaluation.metrics.table import METRICS, MetricTable
from tasks.evaluation.report import (
    Comparison,
    Example,
    ExampleAnswer,
    Report,
    SuiteResult,
    format_difference,
    format_p_value,
)
from tasks.evaluation.report_plots import plot_confusion, plot_results
from tasks.recordings.codec import media_type

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --muted: #667080;
  --line: #d9dde3; --soft: #f4f6f8; --good: #14703c; --bad: #b3261e; --series-0: #1f66c2;
  --series-1: #c2560c; --series-2: #14803f; --series-3: #8a3fb8; --series-4: #a8324a;
  --series-5: #586a10; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e4e7eb; --muted: #97a1ae;
  --line: #333a43; --soft: #1d2127; --good: #62cf8c; --bad: #ff8a80; --series-0: #6caaf5;
  --series-1: #f49a57; --series-2: #62cf8c; --series-3: #cf9bf0; --series-4: #f48fa3;
  --series-5: #c4d46a; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--line); white-space: nowrap; }
.number { text-align: right; } .number, .metric { white-space: nowrap; }
small, .note { color: var(--muted); font-size: .85rem; }
td small { display: block; }
svg { max-width: 100%; height: auto; margin-top: 1rem; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.good { color: var(--good); } .bad { color: var(--bad); }
.verdict { font-weight: 600; white-space: nowrap; }
article { background: var(--soft); border-radius: .5rem; padding: .3rem 1rem 1rem;
  margin: 1rem 0; overflow-wrap: anywhere; }
article table { width: 100%; } article th { width: 7rem; } article .verdict { width: 7rem; }
.verdict small { font-weight: 400; }
audio { display: block; width: 100%; max-width: 28rem; margin: .5rem 0; }
.text { white-space: pre-wrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
"""

# Even if an answer got through as markup, the browser would neither run nor fetch anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"


def render_report(
    report: Report, audio: Mapping[str, bytes], metrics: MetricTable = METRICS
) -> str:
    """The page as HTML text; the same report gives the same bytes.

    Args:
        audio: audio files by clip id, for the clips of `report.examples`. A clip that is missing
            is named without a player.
    """
    title = html.escape(report.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        + _provenance(report)
        + _results(report, metrics)
        + _comparisons(report, metrics)
        + _confusions(report)
        + _examples(report, audio, metrics)
        + "</body>\n</html>\n"
    )


def _provenance(report: Report) -> str:
    facts = "".join(
        f"<dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd>\n"
        for label, value in report.provenance.items()
    )
    return f"<dl>\n{facts}</dl>\n" if facts else ""


def _results(report: Report, metrics: MetricTable) -> str:
    names = "".join(
        f'<th scope="col" class="number">{html.escape(name)}</th>' for name in report.checkpoints
    )
    rows = "".join(_result_row(report, suite, metrics) for suite in report.suites)
    plot = plot_results(report, "results", metrics)
    return (
        "<h2>Results</h2>\n"
        '<p class="note">Value and 95% bootstrap interval over items. ↑ higher is better, ↓ lower '
        "is better. Chance is a uniform guess among the choices; majority always gives the most "
        "common answer.</p>\n"
        '<div class="wide"><table>\n<thead><tr><th scope="col">suite</th><th scope="col">metric'
        f'</th><th scope="col" class="number">items</th>{names}<th scope="col" class="number">'
        'chance</th><th scope="col" class="number">majority</th></tr></thead>\n'
        f'<tbody>\n{rows}</tbody>\n</table></div>\n<div class="wide">{plot}</div>\n'
    )


def _result_row(report: Report, suite: str, metrics: MetricTable) -> str:
    results = [report.result(suite, name) for name in report.checkpoints]
    first = results[0]
    metric = metrics.named(first.metric)
    cells = "".join(_result_cell(result, metrics) for result in results)
    baselines = "".join(
        f'<td class="number">{metric.format(value)}</td>'
        for value in (first.chance, first.majority)
    )
    return (
        f'<tr><th scope="row">{html.escape(suite)}</th>'
        f'<td class="metric">{html.escape(metric.label)}</td>'
        f'<td class="number">{first.n}</td>{cells}{baselines}</tr>\n'
    )


def _result_cell(result: SuiteResult, metrics: MetricTable) -> str:
    metric = metrics.named(result.metric)
    value, low, high = (metric.format(number) for number in (result.value, result.low, result.high))
    further = [(metrics.named(name), score) for name, score in result.secondary.items()]
    secondary = "".join(
        f"<small>{html.escape(other.title)} {other.format(score)}</small>"
        for other, score in further
    )
    return f'<td class="number"><b>{value}</b> [{low}, {high}]{secondary}</td>'


def _comparisons(report: Report, metrics: MetricTable) -> str:
    if not report.comparisons:
        return ""
    rows = "".join(
        _comparison_row(comparison, metrics.named(comparison.metric))
        for comparison in report.comparisons
    )
    return (
        "<h2>Paired tests</h2>\n"
        '<p class="note">Each checkpoint against the one before it, on the same items. Differences '
        "of percentages are points. p: two-sided approximate randomisation, not corrected for the "
        "number of tests.</p>\n"
        '<div class="wide"><table>\n<thead><tr><th scope="col">suite</th><th scope="col">metric'
        '</th><th scope="col">from → to</th><th scope="col" class="number">difference</th>'
        '<th scope="col" class="number">p</th><th scope="col">verdict at 0.05</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table></div>\n"
    )


def _comparison_row(comparison: Comparison, metric: Metric) -> str:
    colour = {"better": "good", "worse": "bad"}.get(comparison.verdict, "")
    return (
        f'<tr><th scope="row">{html.escape(comparison.suite)}</th>'
        f'<td class="metric">{html.escape(metric.label)}</td>'
        f"<td>{html.escape(comparison.before)} → {html.escape(comparison.after)}</td>"
        f'<td class="number">{format_difference(comparison, metric)}</td>'
        f'<td class="number">{format_p_value(comparison.p_value)}</td>'
        f'<td class="verdict {colour}">{comparison.verdict}</td></tr>\n'
    )


def _confusions(report: Report) -> str:
    if not report.confusions:
        return ""
    parts = [
        "<h2>Confusions</h2>\n",
        '<p class="note">Numbers are items; the shade is the share of the reference class. '
        "Answers outside the closed set stand under (other).</p>\n",
    ]
    for suite in dict.fromkeys(confusion.suite for confusion in report.confusions):
        plots = "".join(
            plot_confusion(confusion, f"confusion{index}")
            for index, confusion in enumerate(report.confusions)
            if confusion.suite == suite
        )
        parts.append(f'<h3>{html.escape(suite)}</h3>\n<div class="plots">{plots}</div>\n')
    return "".join(parts)


def _examples(report: Report, audio: Mapping[str, bytes], metrics: MetricTable) -> str:
    if not report.examples:
        return ""
    return (
        '<h2>Examples</h2>\n<p class="note">Drawn at random, not chosen by score.</p>\n'
        + "".join(
            _example(example, audio, metrics.named(example.metric)) for example in report.examples
        )
    )


def _example(example: Example, audio: Mapping[str, bytes], metric: Metric) -> str:
    players = "".join(_player(clip, audio.get(clip)) for clip in example.clip_ids)
    answers = "".join(_answer_row(metric, answer) for answer in example.answers)
    return (
        f"<article>\n<h3>{html.escape(example.suite)} <small>{html.escape(example.id)}</small>"
        f"</h3>\n{players}<table>\n"
        f'<tr><th scope="row">question</th><td class="text">{html.escape(example.question)}</td>'
        "<td></td></tr>\n"
        f'<tr><th scope="row">reference</th><td class="text">{html.escape(example.reference)}</td>'
        f"<td></td></tr>\n{answers}</table>\n</article>\n"
    )


def _player(clip: str, audio: bytes | None) -> str:
    if audio is None:
        return f'<p class="note">{html.escape(clip)}: audio not included</p>\n'
    data = base64.b64encode(audio).decode()
    return (
        f'<small>{html.escape(clip)}</small>\n<audio controls preload="metadata" '
        f'aria-label="{html.escape(clip)}" src="data:{media_type(audio)};base64,{data}"></audio>\n'
    )


def _answer_row(metric: Metric, answer: ExampleAnswer) -> str:
    verdict = f"✓ {metric.verdict.best}" if answer.right else f"✗ {metric.verdict.other}"
    score = ""
    if metric.verdict.shows_score:
        score = f"<small>{html.escape(metric.title)} {metric.format(answer.score)}</small>"
    colour = "good" if answer.right else "bad"
    text = html.escape(answer.text) if answer.text.strip() else "<small>(no answer)</small>"
    return (
        f'<tr><th scope="row">{html.escape(answer.checkpoint)}</th><td class="text">{text}</td>'
        f'<td class="verdict {colour}">{verdict}{score}</td></tr>\n'
    )
