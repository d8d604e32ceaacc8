"""What all tests share: a few real recordings of the embedded corpus, and quiet libraries."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from infra.settings import read_settings

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden losses are compared, or made anew where somebody asks for it."""
    parser.addoption("--renew-golden-losses", action="store_true")


def pytest_configure() -> None:
    """Give libraries their defaults before a test imports them."""
    home = Path(os.environ.setdefault("Q2A_HOME", str(ROOT / "runs" / "tests")))
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        # Each process of `pytest -n` has a home of its own; the first has set these for itself.
        home /= worker
        os.environ["Q2A_HOME"] = str(home)
        os.environ.pop("PREFECT_HOME", None)
    read_settings()
    torch.set_num_threads(1)
    # The same examples everywhere, however long they take: a test tells of the code, not the day.
    settings.register_profile(
        "q2a", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("q2a")


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 130 recordings: a few of every kind, split and set of tasks, and whole digit voices."""
    rows = [json.loads(line) for line in (ROOT / "data/manifest.jsonl").read_text().splitlines()]
    digit_voices = {"tuxdig_en", "esp_en-us", "esp_en-gb-scotland", "ast_en"}
    taken: Counter[tuple[str, ...]] = Counter()
    kept = []
    for row in rows:
        group = (row["kind"], row["split"], *sorted(row["targets"]))
        is_digit = row["kind"] == "digit"
        if row["speaker"] in digit_voices if is_digit else taken[group] < 3:
            taken[group] += 1
            kept.append(row | {"audio": str(ROOT / "data" / row["audio"])})
    path = tmp_path_factory.mktemp("manifest") / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return path
