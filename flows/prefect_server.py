"""Prefect's server of one command, for whoever names no other one.

Prefect would start such a server itself. But it would be in the process group of the run: a signal
to the group ended it first, and the run then waited ten minutes to tell it of its own end.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from data_contracts.errors import UsageError
from infra.file_lock import hold
from infra.server_process import HOST, ServerError, ServerProcess, free_port, server_process
from infra.settings import Settings

_API_VARIABLE = "PREFECT_API_URL"
_START_SECONDS = 120.0
"""A first start makes the database; on a busy machine it takes a minute."""
_DRAIN_SECONDS = 3.0
"""Longest time that the server's end waits for what is still to be sent to it, of each kind."""


class PrefectDatabaseError(UsageError):
    """The file that holds the history of Prefect's runs is damaged."""


@contextmanager
def own_prefect_server(settings: Settings) -> Iterator[None]:
    """Run a Prefect server for this process while the context is open, unless one is named.

    It listens on the loopback interface alone, and serves no pages. Prefect is to be imported
    inside: its threads go by the address that it finds then, and would start a server without one.

    Raises:
        PrefectDatabaseError: its database is damaged.
        ServerError: it does not start; with what it printed last.
    """
    if settings.prefect_api_url:
        yield
        return
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
        "--lifespan", "on", "--host", HOST, "--port", str(port), "--log-level", "error",
    ]  # fmt: skip
    environment = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    url = f"http://{HOST}:{port}/api"
    log = settings.home / "logs" / f"prefect-server-{port}.log"
    with running_prefect_server(settings.home, command, environment, url, log), _api_at(url):
        yield
    log.unlink(missing_ok=True)  # the server ended as it should, so nobody asks what it said


@contextmanager
def running_prefect_server(
    home: Path, command: Sequence[str], environment: Mapping[str, str], url: str, log: Path
) -> Iterator[ServerProcess]:
    """Run a Prefect server while the context is open, which is when the server answers.

    The servers of a home start one after the other: the first makes the tables of its database,
    one of a later version changes them, and two at once spoil each other's work.

    Args:
        environment: variables that the server gets besides those of this process.
        url: of its API.
        log: file that gets what it prints.

    Raises:
        PrefectDatabaseError: its database is damaged.
        ServerError: it does not start; with what it printed last.
    """
    folder = home / "prefect"
    with ExitStack() as stack:
        with hold(folder):
            server = stack.enter_context(
                server_process("Prefect's server", command, environment, log)
            )
            try:
                server.wait_until_healthy(f"{url}/health", _START_SECONDS)
            except ServerError as error:
                _check_database(folder / "prefect.db", error)
                raise
        yield server


@contextmanager
def _api_at(url: str) -> Iterator[None]:
    """Let Prefect talk to a server while the context is open."""
    before = os.environ.get(_API_VARIABLE)
    os.environ[_API_VARIABLE] = url
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, temporary_settings

    try:
        # For a process that has imported Prefect before, such as one of the tests.
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        # They would be sent when the interpreter ends: states of tasks, lines of logs.
        for worker in (EventsWorker, APILogWorker):
            worker.drain_all(timeout=_DRAIN_SECONDS)
        del os.environ[_API_VARIABLE]
        if before is not None:
            os.environ[_API_VARIABLE] = before


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
