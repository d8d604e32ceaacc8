"""Losses of the small training (fixture `training`) as they were when they were recorded."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "tasks/training/golden_losses.json"
"""Name -> loss of each step. To renew them after a change that is meant to change numbers, run

    python -m pytest tests/tasks/training/strategies --renew-golden-losses -k "record or as_one"

and say in the commit why they changed.
"""


def compare(name: str, losses: Sequence[float]) -> None:
    """Every loss lies within 1e-5 of the one on record."""
    assert losses == pytest.approx(json.loads(FILE.read_text())[name], rel=0, abs=1e-5)


def record(name: str, losses: Sequence[float]) -> None:
    """These are the losses from now on."""
    golden = json.loads(FILE.read_text()) if FILE.exists() else {}
    golden[name] = losses
    FILE.write_text(json.dumps(golden, indent=1) + "\n")
