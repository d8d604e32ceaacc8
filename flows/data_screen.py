"""Tables of `q2a data look`."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.tables import print_table
from tasks.sources.overview import Overview

_BAR = 30
"""Width of the longest bar, in characters."""
_MOST = 12
"""Most bars of a histogram."""


def print_overview(console: Console, overview: Overview) -> None:
    """Print the forms, the histograms, ten rows and the problems."""
    forms = ", ".join(f"{name} ({count} rows)" for name, count in overview.forms.items())
    console.print(f"Form: {forms}", highlight=False)
    console.print(
        f"{overview.clips} recordings understood, {overview.rejected} rows rejected, "
        f"{overview.seconds / 3600:.2f} h where the length is known",
        highlight=False,
    )
    for title, counts in (
        ("Tasks", overview.tasks), ("Languages", overview.languages),
        ("Splits", overview.splits), ("Seconds", overview.durations),
    ):  # fmt: skip
        _print_histogram(console, title, counts)
    rows = Table(title="First rows")
    for name in ("row", "form", "audio", "text"):
        rows.add_column(name, overflow="fold")
    for example in overview.examples:
        rows.add_row(*map(escape, (example.id, example.form, example.audio, example.said)))
    print_table(console, rows)
    if not overview.problems:
        console.print("No problems.")
        return
    problems = Table(title="Problems")
    for name in ("count", "reason", "such as"):
        problems.add_column(name, overflow="fold")
    for problem in overview.problems:
        problems.add_row(str(problem.count), problem.reason, escape("\n".join(problem.examples)))
    print_table(console, problems)


def _print_histogram(console: Console, title: str, counts: dict[str, int]) -> None:
    shown = list(counts.items())[:_MOST]
    if not shown:
        return
    console.print(title, style="italic", highlight=False)
    width, most = max(len(name) for name, _ in shown), max(count for _, count in shown)
    for name, count in shown:
        bar = "#" * max(1, round(_BAR * count / most))
        console.print(f"  {name:{width}} {bar} {count}", highlight=False, markup=False)
    if len(counts) > _MOST:
        console.print(f"  and {len(counts) - _MOST} more", highlight=False)
