"""Tables on a terminal of any width."""

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 1_000_000
"""Characters of a line into which every table fits."""


def wide_console() -> Console:
    """Return a console on standard output, with lines of 140 characters where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def print_table(console: Console, table: Table) -> None:
    """Print a table whole; where it is wider than the terminal, its rows as paragraphs.

    A paragraph begins with the row's first cell and has the others by name, without the empty ones.
    """
    unbounded = console.options.update(width=_UNBOUNDED)
    if console.measure(table, options=unbounded).maximum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, style="italic", highlight=False)
    names = [column.header for column in table.columns[1:]]
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        console.print(first, style="bold", highlight=False)
        fields = [_field(name, cell) for name, cell in zip(names, others, strict=True) if cell]
        console.print(Padding(Columns(fields, padding=(0, 3)), (0, 0, 0, 2)))
    if table.caption:
        console.print(table.caption, style="dim", highlight=False)


def _field(name: RenderableType, cell: RenderableType) -> Text:
    return Text(": ").join(
        part if isinstance(part, Text) else Text.from_markup(str(part)) for part in (name, cell)
    )
