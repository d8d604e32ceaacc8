"""Prefect's server of a run: nobody else's, and a damaged database of it is named."""

import os
from pathlib import Path

import pytest

from flows.prefect_server import PrefectDatabaseError, own_prefect_server
from infra.server_process import ServerError
from infra.settings import Settings


def test_a_server_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with own_prefect_server(Settings(home=tmp_path)):
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    assert not (tmp_path / "logs").exists()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    (tmp_path / "prefect").mkdir()
    return Settings(home=tmp_path)


def test_a_server_that_does_not_start_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.prefect_server.sys.executable", "/bin/false")
    with (
        pytest.raises(ServerError, match="Prefect's server ended with code 1; it said last:"),
        own_prefect_server(settings),
    ):
        pytest.fail("there is no server")


@pytest.mark.drill
def test_a_damaged_database_is_named_with_its_remedy(settings: Settings) -> None:
    path = settings.home / "prefect" / "prefect.db"
    path.write_bytes(b"SQLite format 3\0" + b"\x07" * 8000)
    with (
        pytest.raises(PrefectDatabaseError, match=rf"^{path} is no whole SQLite .*Move it away"),
        own_prefect_server(settings),
    ):
        pytest.fail("there is no server")
