"""A home of its own for each test of a command."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty world of its own."""
    monkeypatch.setenv("Q2A_HOME", str(tmp_path / "home"))
    for name in ("Q2A_STORE", "Q2A_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES"):  # what rich obeys
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"
