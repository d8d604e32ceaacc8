"""The hygiene report as one HTML file that needs nothing else: no network, no scripts.

Ids and texts come from other people's data: everything passes `html.escape`.
"""

from html import escape
from typing import get_args

from data_contracts.hygiene import HYGIENE, FindingKind, Histogram, HygieneReport
from data_contracts.records import Split

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1c2024, #e4e7eb);
  --paper: light-dark(#fff, #14171b); --muted: light-dark(#667080, #97a1ae);
  --line: light-dark(#d9dde3, #333a43); --bar: light-dark(#1f66c2, #6caaf5);
  --bad: light-dark(#b3261e, #ff8a80); --good: light-dark(#14703c, #62cf8c); }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.number { text-align: right; } .note { color: var(--muted); font-size: .9rem; }
.bad { color: var(--bad); } .good { color: var(--good); }
.tables, .plots { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start; }
svg { max-width: 100%; height: auto; } svg rect { fill: var(--bar); }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg line { stroke: var(--line); }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_ROW, _LEFT, _WIDTH = 30, 110, 330
"""Height of a group's row, room for its name, width of the bars, in px."""


def render(report: HygieneReport) -> str:
    """The page as HTML text; the same report gives the same bytes."""
    hours = report.seconds / 3600
    plots = "".join(_histogram(histogram) for histogram in report.histograms if histogram.counts)
    tables = "".join(_count_table(title, counts) for title, counts in report.clips_by.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Hygiene of the corpus</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<h1>Hygiene of the corpus</h1>\n"
        f"<p>{report.recordings:,} recordings, {hours:.2f} hours; {report.compositions:,} clips "
        f"composed of them. {_verdict(report)}</p>\n"
        f'<p class="note">{report.proposed_pairs:,} pairs had similar fingerprints, and their '
        f"waveforms were compared. Language: {escape(report.identifier)}.</p>\n"
        f"<h2>Findings</h2>\n{_findings(report)}"
        f'<h2>What is in it</h2>\n<div class="tables">{tables}</div>\n'
        '<h2>How it is spread</h2>\n<p class="note">A row for each group, scaled to its highest '
        f'bar; the outer bars hold what lies beyond.</p>\n<div class="plots">{plots}</div>\n'
        "</body>\n</html>\n"
    )


def _verdict(report: HygieneReport) -> str:
    leaks = sum(count for kind, count in report.counts.items() if _stops(kind))
    if leaks:
        return f'<strong class="bad">Leaks between splits: {leaks:,}.</strong>'
    return '<strong class="good">No leaks between splits.</strong>'


def _stops(kind: FindingKind) -> bool:
    return any(rule.column == kind and rule.severity == "stop" for rule in HYGIENE.rules)


def _findings(report: HygieneReport) -> str:
    sections = []
    for rule in HYGIENE.rules:
        found = [finding for finding in report.findings if finding.kind == rule.column]
        if not found:
            continue
        rows = "".join(
            f'<tr><th scope="row"><code>{escape(finding.clip)}</code></th>'
            f"<td>{escape(finding.detail)}</td></tr>\n"
            for finding in found
        )
        count = report.counts[found[0].kind]
        more = count - len(found)
        rest = f'<p class="note">{more:,} more in hygiene.jsonl.</p>\n' if more else ""
        colour = "bad" if rule.severity == "stop" else ""
        title = (rule.column or "").replace("_", " ")
        sections.append(
            f'<h3 class="{colour}">{title}: {count:,}</h3>\n'
            f'<p class="note">{escape(rule.remedy)}</p>\n'
            f'<div class="wide"><table><tbody>\n{rows}</tbody></table></div>\n{rest}'
        )
    return "".join(sections) or "<p>Nothing.</p>\n"


def _count_table(title: str, counts: dict[str, dict[str, int]]) -> str:
    splits = get_args(Split)
    head = "".join(f'<th scope="col" class="number">{split}</th>' for split in splits)
    rows = "".join(
        f'<tr><th scope="row">{escape(value)}</th>'
        + "".join(f'<td class="number">{by_split[split]:,}</td>' for split in splits)
        + "</tr>\n"
        for value, by_split in counts.items()
    )
    return (
        f'<table><thead><tr><th scope="col">{escape(title)}</th>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table>\n"
    )


def _histogram(histogram: Histogram) -> str:
    """Rows of bars over one axis, as an SVG element."""
    height = _ROW * len(histogram.counts)
    parts = []
    for number, (name, counts) in enumerate(sorted(histogram.counts.items())):
        bottom = _ROW * (number + 1)
        step, top = _WIDTH / len(counts), max(counts)
        parts.append(
            f'<text x="0" y="{bottom - 6}">{escape(name)} ({sum(counts):,})</text>'
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{bottom}" y2="{bottom}"/>'
        )
        parts += [
            f'<rect x="{_LEFT + place * step:.1f}" y="{bottom - bar:.1f}" '
            f'width="{step - 1:.1f}" height="{bar:.1f}"/>'
            for place, count in enumerate(counts)
            if (bar := (_ROW - 6) * count / top)
        ]
    for share in (0, 0.5, 1):
        value = histogram.edges[0] + share * (histogram.edges[-1] - histogram.edges[0])
        anchor = ("start", "middle", "end")[int(2 * share)]
        parts.append(
            f'<text x="{_LEFT + share * _WIDTH}" y="{height + 14}" text-anchor="{anchor}">'
            f"{value:.3g}</text>"
        )
    label = escape(f"{histogram.title}, {histogram.unit}")
    return (
        f'<figure><figcaption>{label}</figcaption><svg role="img" aria-label="{label}" '
        f'width="{_LEFT + _WIDTH}" height="{height + 20}" '
        f'viewBox="0 0 {_LEFT + _WIDTH} {height + 20}">{"".join(parts)}</svg></figure>\n'
    )
