"""Blocks and waits so small that little data shows what reading a remote file does."""

import math

import pytest

from infra.storage import file_systems, remote_file


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and blocks of some kB, no waits between attempts, and no pause is too long."""
    monkeypatch.setattr(remote_file, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(remote_file, "_NEAR_BYTES", 3000)
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", 7000)
    monkeypatch.setattr(remote_file, "_IDLE_SECONDS", math.inf)  # or pauses would cost requests
    monkeypatch.setattr(file_systems, "FIRST_BACKOFF_SECONDS", 0.0)
