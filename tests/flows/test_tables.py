"""Tables on terminals of several widths."""

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.tables import print_table

CELLS = ("collect_preferences", "12.5% [10.1%, 15.0%]", "100.0% [100.0%, 100.0%]", "")


def shown(width: int) -> str:
    table = Table(title="Scores", caption="value [95% interval]")
    for name in ("suite", "sft", "dpo", "chance"):
        table.add_column(name)
    table.add_row(*map(Text, CELLS))
    console = Console(file=io.StringIO(), width=width, record=True)
    print_table(console, table)
    return console.export_text()


def test_a_table_that_fits_is_printed_as_one() -> None:
    assert "│ collect_preferences │ 12.5% [10.1%, 15.0%] │ 100.0% [100.0%, 100.0%] │" in shown(90)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_on_a_narrow_terminal_no_cell_is_cut_or_folded(width: int) -> None:
    text = shown(width)
    assert "Scores" in text
    assert "sft: 12.5% [10.1%, 15.0%]" in text
    assert "dpo: 100.0% [100.0%, 100.0%]" in text
    assert "collect_preferences" in text.splitlines()[1]
    assert "chance" not in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
