"""MLflow's SQLite database: whole or not there, however the first start of a home ended.

MLflow makes its tables, and changes them some fifty times, in the file that is used later. Killed
in between, or done by two processes at once, this leaves a file that it can neither use nor repair.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from sqlalchemy.engine import make_url

from data_contracts.errors import UsageError
from infra.file_lock import hold
from infra.retry import RetryPolicy

_log = logging.getLogger(__name__)
WAIT_SECONDS = 240.0
"""Longest wait for another process that locks the database, as long as for a server."""
_REMEDY = (
    "Restore it from a copy, or move it away to begin a new one: finished artifacts are found "
    "without it"
)


class TrackingDatabaseError(UsageError):
    """MLflow's SQLite file can't be used and may hold runs; the message names it and the remedy."""


def prepare_database(tracking_uri: str, artifact_folder: Path) -> None:
    """Make the SQLite database of a tracking URI, unless it is whole; other URIs are left alone.

    It is made beside its path and renamed, so a kill leaves nothing that a later start would find.
    A half-made one without runs is set aside as `NAME.damaged-TIME`.

    Args:
        artifact_folder: where MLflow keeps files of its default experiment.

    Raises:
        TrackingDatabaseError: the file is damaged and has runs, or can't be read at all.
    """
    path = database_file(tracking_uri)
    if path is None or _is_whole(path):
        return
    with hold(path.with_name(f"{path.name}.lock")):
        if _is_whole(path):  # made by another process meanwhile
            return
        if _num_rows(path, "runs"):
            _upgrade(path, artifact_folder)
            return
        _set_aside(path)
        partial = path.with_name(f"{path.name}.partial")
        for left in path.parent.glob(f"{partial.name}*"):  # by a process that was killed
            left.unlink()
        _open(partial, artifact_folder)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)


class PatientClient:
    """MlflowClient whose calls wait while another process locks the SQLite database.

    Calls raise `TrackingDatabaseError` where that lasts for minutes.
    """

    def __init__(self, tracking_uri: str) -> None:
        _silence()
        self._uri = tracking_uri
        self._client = MlflowClient(tracking_uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        retry = RetryPolicy(
            WAIT_SECONDS, is_retryable=_is_locked, error_text=lambda _: "the database is locked"
        )

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return retry.run(lambda: method(*args, **kwargs), f"MLflow's {name}", _log.warning)
            except Exception as error:
                if not _is_locked(error):
                    raise
                raise TrackingDatabaseError(
                    f"MLflow's database {self._uri} stayed locked by another process for "
                    f"{WAIT_SECONDS:.0f} s. End what uses it (`fuser FILE` lists processes)"
                ) from error

        return call


def _silence() -> None:
    """Keep MLflow from printing how it makes tables, and pages of SQL for each failed attempt."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _is_locked(error: Exception) -> bool:
    return "database is locked" in str(error)


def database_file(tracking_uri: str) -> Path | None:
    """Return the SQLite file of a tracking URI; None for a server or another database."""
    if not tracking_uri.startswith("sqlite:"):
        return None
    name = make_url(tracking_uri).database
    return Path(name) if name and name != ":memory:" else None


def _is_whole(path: Path) -> bool:
    """Return whether all tables are there, and the first experiment, which MLflow adds last."""
    from mlflow.store.db import utils  # slow, and needed for no server; it declares all tables

    tables = set(utils.Base.metadata.tables)
    return (
        tables <= _tables(path)
        and _num_rows(path, "alembic_version") == 1
        and _num_rows(path, "experiments") > 0
    )


def _tables(path: Path) -> set[str]:
    names = _query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    return {str(name) for (name,) in names}


def _num_rows(path: Path, table: str) -> int:
    if table not in _tables(path):
        return 0
    ((number,),) = _query(path, f"SELECT count(*) FROM {table}")
    return int(str(number))


def _query(path: Path, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query, none where there is no file; wait for a process that writes."""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.DatabaseError as error:
        raise TrackingDatabaseError(
            f"MLflow's database {path} can't be read ({error}). {_REMEDY}"
        ) from error


def _set_aside(path: Path) -> None:
    """Rename a half-made file, and a journal, which would be taken for that of the new one."""
    damaged = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ("-journal", "-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(damaged + suffix))


def _upgrade(path: Path, artifact_folder: Path) -> None:
    """Let MLflow add the tables that a database of an older version lacks."""
    cause = None
    try:
        _open(path, artifact_folder)
    except Exception as error:  # of MLflow, alembic, SQLAlchemy or SQLite
        cause = error
    if cause or not _is_whole(path):
        raise TrackingDatabaseError(
            f"MLflow's database {path} has runs, but lacks tables, and MLflow can't add them. "
            f"{_REMEDY}"
        ) from cause


def _open(path: Path, artifact_folder: Path) -> None:
    """Make all tables and the first experiment that a database lacks."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # slow, see above

    _silence()
    SqlAlchemyStore(f"sqlite:///{path}", artifact_folder.resolve().as_uri()).engine.dispose()
