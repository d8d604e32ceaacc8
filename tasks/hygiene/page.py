"""The hygiene report as one HTML file that needs nothing else: no network, no scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from data_contracts.hygiene import (
    HYGIENE,
    LEAKS,
    Finding,
    FindingKind,
    Histogram,
    HygieneReport,
)
from data_contracts.pages.page import render as render_template
from data_contracts.records import Split

_ROW, _LEFT, _WIDTH, _FOOT = 30, 110, 330, 20
"""Height of a group's row, room for its name, width of its bars, room for the axis, in px."""


@dataclass(frozen=True)
class _Section:
    """All findings of one kind."""

    title: str
    remedy: str
    is_leak: bool
    count: int
    findings: Sequence[Finding]
    """The foremost of them."""

    @property
    def num_more(self) -> int:
        return self.count - len(self.findings)


@dataclass(frozen=True)
class _Bar:
    """One bar, in px from the plot's upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class _Group:
    """One row of bars; `bottom` in px."""

    name: str
    total: int
    bottom: int
    bars: list[_Bar]


@dataclass(frozen=True)
class _Plot:
    """Rows of bars over one axis, in px."""

    label: str
    height: int
    groups: list[_Group]
    ticks: list[tuple[float, str, str]]
    """x, side of the text that stands there, text."""
    left: int = _LEFT
    width: int = _LEFT + _WIDTH


def render(report: HygieneReport) -> str:
    """Write the page as HTML text; the same report gives the same bytes."""
    return render_template(
        "hygiene.html",
        title="Hygiene of the corpus",
        report=report,
        hours=f"{report.seconds / 3600:.2f}",
        leaks=sum(count for kind, count in report.counts.items() if kind in LEAKS),
        sections=_sections(report),
        splits=get_args(Split),
        plots=[_plot(histogram) for histogram in report.histograms if histogram.counts],
    )


def _sections(report: HygieneReport) -> list[_Section]:
    """Group the findings by kind, in the order of the contract's rules."""
    remedies = {rule.column: rule.remedy for rule in HYGIENE.rules}
    by_kind = {
        kind: [finding for finding in report.findings if finding.kind == kind]
        for kind in get_args(FindingKind)
    }
    return [
        _Section(
            title=kind.replace("_", " "),
            remedy=remedies[kind],
            is_leak=kind in LEAKS,
            count=report.counts[kind],
            findings=findings,
        )
        for kind, findings in by_kind.items()
        if findings
    ]


def _plot(histogram: Histogram) -> _Plot:
    groups = [
        _group(name, counts, bottom=_ROW * row)
        for row, (name, counts) in enumerate(sorted(histogram.counts.items()), start=1)
    ]
    low, high = histogram.edges[0], histogram.edges[-1]
    ticks = [
        (_LEFT + share * _WIDTH, anchor, f"{low + share * (high - low):.3g}")
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    ]
    label = f"{histogram.title}, {histogram.unit}"
    return _Plot(label, _ROW * len(groups) + _FOOT, groups, ticks)


def _group(name: str, counts: Sequence[int], bottom: int) -> _Group:
    step, top = _WIDTH / len(counts), max(counts)
    bars = []
    for index, count in enumerate(counts):
        if count:
            height = (_ROW - 6) * count / top
            bars.append(_Bar(_LEFT + index * step, bottom - height, step - 1, height))
    return _Group(name, sum(counts), bottom, bars)
