"""What was measured: as a Markdown table, row by row, and as JSON."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.harness import NUM_THREADS, Row

_COLUMNS = {
    "item": 40,
    "work": 62,
    "ours": 8,
    "reference": 9,
    "ratio": 6,
    "goal": 6,
    "stretch": 7,
    "exactness and bounds": 0,
}
"""Columns and their least widths."""


def header() -> str:
    """The table's first two lines."""
    return _line(_COLUMNS) + "\n" + _line(["-" * max(3, width) for width in _COLUMNS.values()])


def table_row(row: Row) -> str:
    """One line of the table."""
    return _line(
        [
            row.name,
            row.work,
            _seconds(row.race.ours),
            _seconds(row.race.reference),
            _ratio(row.race.ratio),
            _ratio(row.goal),
            _ratio(row.stretch),
            ", ".join(map(str, row.conditions)),
        ]
    )


def machine() -> dict[str, Any]:
    """Where it was measured, and with what."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "threads": NUM_THREADS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def results(rows: Sequence[Row]) -> dict[str, Any]:
    """What `results.json` holds."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rows": [asdict(row) | {"missed": row.missed} for row in rows],
    }


def _line(cells: Sequence[str] | dict[str, int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, _COLUMNS.values(), strict=True))
    return f"| {' | '.join(padded)} |"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}x"
