"""A ledger of a store of its own."""

from pathlib import Path

import pytest

from infra.ledger import Ledger
from infra.storage.store import Store


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(str(tmp_path / "store")), tmp_path / "locks")
