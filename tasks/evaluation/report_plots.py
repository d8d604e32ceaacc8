"""Plots of the report as inline SVG that follows the page's colours.

Only matplotlib's object interface is used, so nothing is shared between calls. Figures are drawn
in placeholder colours, which are then replaced by CSS variables of the page: one drawing serves
the light and the dark theme.
"""

import html
import io
import re
from collections.abc import Mapping

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from tasks.evaluation.metrics.metric import PER_CENT, Metric
from tasks.evaluation.metrics.table import METRICS, MetricTable
from tasks.evaluation.report import Confusion, Report, SuiteResult

NUM_SERIES_COLOURS = 6
"""The page defines `--series-0` to `--series-5`; further checkpoints start again."""

_INK = "#010101"
_MUTED = "#020202"
_SERIES = tuple(f"#03030{index}" for index in range(NUM_SERIES_COLOURS))
_CSS_COLOURS = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
}
# Shapes tell the checkpoints apart where colours don't.
_MARKERS = "osDv^P"
# Numbers in the cells of a larger matrix would be too small to read.
_MAX_NUMBERED_CLASSES = 25


def plot_results(report: Report, name: str, metrics: MetricTable = METRICS) -> str:
    """Draw values with 95 % intervals of all suites as an SVG element, a panel for each direction.

    A row for each suite, a marker for each checkpoint; chance and majority are vertical strokes.
    `name` becomes the prefix of the ids inside the SVG and must be unique on the page.
    """
    by_suite = {suite: metrics.named(_first(report, suite).metric) for suite in report.suites}
    panels = [
        [suite for suite, metric in by_suite.items() if metric.higher_is_better == direction]
        for direction in (True, False)
    ]
    panels = [suites for suites in panels if suites]
    row_height = 0.26 + 0.16 * len(report.checkpoints)
    heights = [0.7 + row_height * len(suites) for suites in panels]
    figure = Figure(figsize=(8.6, 0.3 + sum(heights)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axes, suites in zip(grid[:, 0], panels, strict=True):
        _draw_panel(axes, report, {suite: by_suite[suite] for suite in suites})
    series = [
        _key(_literal(checkpoint), _SERIES[index % len(_SERIES)], _MARKERS[index % len(_MARKERS)])
        for index, checkpoint in enumerate(report.checkpoints)
    ]
    baselines = [_key("majority", _MUTED, "", "-"), _key("chance", _MUTED, "", ":")]
    figure.legend(
        handles=[*series, *baselines],
        loc="outside upper left",
        ncols=len(series) + 2,
        frameon=False,
        labelcolor=_INK,
    )
    return _to_svg(figure, name, "Results of all suites; the table has the numbers")


def plot_confusion(confusion: Confusion, name: str) -> str:
    """Draw a confusion matrix as an SVG element; shade is the share of the reference class."""
    num_rows, num_columns = len(confusion.counts), len(confusion.classes)
    figure = Figure(figsize=(1.2 + 0.26 * num_columns, 1.2 + 0.26 * num_rows))
    axes = figure.add_subplot()
    for row, counts in enumerate(confusion.counts):
        for column, count in enumerate(counts):
            if count == 0:
                continue
            # Half transparent at most, so that the number stays readable in both themes.
            shade = 0.08 + 0.47 * count / sum(counts)
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, color=_SERIES[0], alpha=shade, lw=0))
            if num_rows <= _MAX_NUMBERED_CLASSES:
                axes.text(column, row, str(count), ha="center", va="center", color=_INK, size=7)
    labels = [_literal(label) for label in confusion.classes]
    axes.set_xticks(range(num_columns), labels, rotation=90, size=7)
    axes.set_yticks(range(num_rows), labels[:num_rows], size=7)
    axes.set_xlim(-0.5, num_columns - 0.5)
    axes.set_ylim(num_rows - 0.5, -0.5)
    axes.set_xlabel("answer")
    axes.set_ylabel("reference")
    axes.set_title(_literal(confusion.checkpoint), size=10, color=_INK)
    axes.set_aspect("equal")
    _ink(axes)
    return _to_svg(figure, name, f"Confusion matrix of {confusion.suite}, {confusion.checkpoint}")


def _draw_panel(axes: Axes, report: Report, metrics: Mapping[str, Metric]) -> None:
    """Draw a row for each suite of `metrics`, from top to bottom."""
    step = 0.7 / len(report.checkpoints)
    for row, (suite, metric) in enumerate(metrics.items()):
        first = _first(report, suite)
        for baseline, style in ((first.chance, ":"), (first.majority, "-")):
            if baseline is not None:
                x = baseline * metric.scale.factor
                axes.plot([x, x], [row - 0.4, row + 0.4], style, color=_MUTED, lw=1.4)
        for index, checkpoint in enumerate(report.checkpoints):
            y = row - 0.35 + step * (index + 0.5)
            _draw_result(axes, report.result(suite, checkpoint), metric.scale.factor, y, index)
    labels = [f"{suite} ({metric.label})" for suite, metric in metrics.items()]
    axes.set_yticks(range(len(labels)), [_literal(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color=_MUTED, alpha=0.25)
    units = sorted({metric.axis for metric in metrics.values()}, key=_per_cent_first)
    axes.set_xlabel(_literal(", or ".join(units)))
    _ink(axes)


def _per_cent_first(unit: str) -> tuple[bool, str]:
    return unit != PER_CENT.axis, unit


def _first(report: Report, suite: str) -> SuiteResult:
    """Return the first checkpoint's result, where what all checkpoints share can be read."""
    return report.result(suite, report.checkpoints[0])


def _draw_result(axes: Axes, result: SuiteResult, scale: float, y: float, index: int) -> None:
    colour = _SERIES[index % len(_SERIES)]
    axes.plot(
        [result.low * scale, result.high * scale], [y, y], "-", color=colour, lw=2, clip_on=False
    )
    marker = _MARKERS[index % len(_MARKERS)]
    # A marker at 0 is drawn whole, over the frame.
    axes.plot([result.value * scale], [y], marker, color=colour, ms=5.5, clip_on=False)


def _key(label: str, colour: str, marker: str, line: str = "none") -> Line2D:
    return Line2D([], [], color=colour, marker=marker, ls=line, label=label)


def _ink(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=_INK, length=0)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    for spine in axes.spines.values():
        spine.set_color(_MUTED)
        spine.set_linewidth(0.6)


def _literal(text: str) -> str:
    """Return `text` without the dollar signs that matplotlib would read as mathematics."""
    return text.replace("$", r"\$")


def _to_svg(figure: Figure, name: str, description: str) -> str:
    figure.patch.set_alpha(0)
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(
        {
            "svg.hashsalt": name,  # ids depend on it alone: the same report gives the same bytes
            "svg.fonttype": "none",  # text stays text, for search and for screen readers
            "font.sans-serif": ["DejaVu Sans", "Verdana"],  # of equal width: the layout holds
        }
    ):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata=no_metadata)
    # Inline SVG needs neither XML prologue nor namespaces, and the latter look like links.
    svg = buffer.getvalue()
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg ") :], count=2)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r' (id|href)="(#?)', rf' \1="\2{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(description)}" ', 1)
    for placeholder, colour in _CSS_COLOURS.items():
        svg = svg.replace(placeholder, colour)
    return svg
