"""Prefect's server of one command, for whoever names no other one.

Prefect would start such a server itself. But it would be in the process group of the run: a signal
to the group ended it first, and the run then waited ten minutes to tell it of its own end.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from data_contracts.errors import UsageError
from infra.server_process import HOST, ServerError, free_port, server_process
from infra.settings import Settings

_START_SECONDS = 120.0
"""A first start makes the database; on a busy machine it takes a minute."""
_DRAIN_SECONDS = 3.0
"""Longest time that the server's end waits for what is still to be sent to it, of each kind."""


class PrefectDatabaseError(UsageError):
    """The file that holds the history of Prefect's runs is damaged."""


@contextmanager
def own_prefect_server(settings: Settings) -> Iterator[None]:
    """Run a Prefect server for this process while the context is open, unless one is named.

    It listens on the loopback interface alone, and serves no pages.

    Raises:
        PrefectDatabaseError: its database is damaged.
        ServerError: it does not start; with what it printed last.
    """
    import prefect
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "--app-dir", str(prefect.__module_path__.parent),
        "--factory", "prefect.server.api.server:create_app", "--lifespan", "on",
        "--host", HOST, "--port", str(port), "--log-level", "error",
    ]  # fmt: skip
    environment = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        **get_current_settings().to_environment_variables(exclude_unset=True),
    }
    url = f"http://{HOST}:{port}/api"
    log = settings.home / "logs" / f"prefect-server-{port}.log"
    with server_process("Prefect's server", command, environment, log) as server:
        try:
            server.wait_until_healthy(f"{url}/health", _START_SECONDS)
        except ServerError as error:
            _check_database(settings.home / "prefect" / "prefect.db", error)
            raise
        with temporary_settings({PREFECT_API_URL: url}):
            try:
                yield
            finally:
                # They would be sent when the interpreter ends: states of tasks, lines of logs.
                for worker in (EventsWorker, APILogWorker):
                    worker.drain_all(timeout=_DRAIN_SECONDS)
    log.unlink(missing_ok=True)  # the server ended as it should, so nobody asks what it said


def _check_database(path: Path, error: ServerError) -> None:
    """Raise a clear error where a damaged database is what keeps the server from its start."""
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            (problem,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as unreadable:
        problem = str(unreadable)
    if problem != "ok":
        raise PrefectDatabaseError(
            f"{path} is no whole SQLite database ({problem}), and Prefect's server does not start "
            f"without one. Move it away: it holds the history of Prefect's runs alone, no artifact"
        ) from error
