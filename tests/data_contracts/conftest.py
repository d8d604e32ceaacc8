"""The sizes of slices in which tables are checked."""

import pytest

from data_contracts import clip_tables


@pytest.fixture(params=[1 << 17, 3])
def slice_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and in slices of three rows."""
    monkeypatch.setattr(clip_tables, "SLICE_ROWS", request.param)
