"""Adopts a store, or a home, that was moved or copied: MLflow's absolute paths lead to it again.

MLflow keeps whole paths of checkpoints and of runs' files, and has no call that changes them. In
its SQLite file they are corrected in place; on a server a version that lies elsewhere now is
registered again, and its aliases follow.
"""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import UsageError
from data_contracts.stage_record import RECORD
from infra.registry import FOLDER_TAG, Registry
from infra.storage.store import Store
from infra.tracking import EXPERIMENT, Tracking
from infra.tracking_database import WAIT_SECONDS, database_file

_ARTIFACT = re.compile(r"(?:.*/)(?P<stage>[^/]+)/(?P<fingerprint>[0-9a-f]{64})(?P<inside>/.*)?")
"""Path or URL of an artifact of some store, or of a file or folder in it."""
_CHANGED = {"model_versions": ("source", "storage_location"), "model_version_tags": ("value",)}
"""Columns of MLflow's tables that hold paths of checkpoints."""


class AdoptionError(UsageError):
    """A store can't be adopted."""


@dataclass(frozen=True)
class Adoption:
    """What an adoption changed."""

    versions: int
    """Registered versions that lead to the store and led elsewhere before."""
    elsewhere: int
    """Registered versions whose artifact is not in the store; they were left as they are."""
    runs: int
    """Runs whose files were looked for elsewhere before."""


def adopt(tracking: Tracking, artifact_folder: Path, store: Store) -> Adoption:
    """Lead registered versions to the artifacts in `store`, and runs to their files.

    What already leads there is left alone, so it can be repeated. A version whose artifact is not
    in the store keeps its path.

    Args:
        artifact_folder: where the files of runs lie, unless a tracking server keeps them.

    Raises:
        AdoptionError: the store has no finished artifact.
    """
    new_place = _finder(store)
    registry = Registry(tracking.uri)
    before = registry.folders()
    path = database_file(tracking.uri)
    runs = _correct(path, artifact_folder, new_place) if path else 0
    registry.move(new_place)
    after = registry.folders()
    return Adoption(
        versions=sum(folder not in before.values() for folder in after.values()),
        elsewhere=sum(new_place(folder) is None for folder in before.values()),
        runs=runs,
    )


def _finder(store: Store) -> Callable[[str], str | None]:
    """Return a function from a path in any store to that of the same artifact in `store`."""
    artifacts = {
        key.removesuffix(f"/{RECORD}") for key in store.list_keys() if key.endswith(f"/{RECORD}")
    }
    if not artifacts:
        raise AdoptionError(
            f"{store.url} has no finished artifact (STAGE/FINGERPRINT/{RECORD}). Name the folder "
            "or URL of the store itself, such as runs/store."
        )

    def find(location: str) -> str | None:
        match = _ARTIFACT.fullmatch(location)
        if match is None or f"{match['stage']}/{match['fingerprint']}" not in artifacts:
            return None
        return f"{store.url}/{match['stage']}/{match['fingerprint']}{match['inside'] or ''}"

    return find


def _correct(path: Path, artifact_folder: Path, new_place: Callable[[str], str | None]) -> int:
    """Correct the paths in a SQLite file, all or none; return for how many runs."""
    with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, columns in _CHANGED.items():
            where = f" WHERE key = '{FOLDER_TAG}'" if "value" in columns else ""
            for column in columns:
                query = f"SELECT rowid, {column} FROM {table}{where}"
                for row, location in connection.execute(query).fetchall():
                    if place := new_place(location or ""):
                        _set(connection, table, column, row, place)
        query = "SELECT rowid, dataset_source FROM datasets"
        for row, source in connection.execute(query).fetchall():
            if place := new_place(_uri_of(source)):
                _set(connection, "datasets", "dataset_source", row, json.dumps({"uri": place}))
        return _move_files_of_runs(connection, artifact_folder)


def _move_files_of_runs(connection: sqlite3.Connection, artifact_folder: Path) -> int:
    """Let experiments and runs keep their files in `artifact_folder`, if it is there."""
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    found = connection.execute(query, (EXPERIMENT,)).fetchone()
    old, new = found[0] if found else "", artifact_folder.resolve().as_uri()
    if not old or old == new or not artifact_folder.is_dir():
        return 0
    changed = 0
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        changed = connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
        ).rowcount
    return changed


def _set(connection: sqlite3.Connection, table: str, column: str, row: int, value: str) -> None:
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))


def _uri_of(source: str) -> str:
    """Return the URI of a data set's source; empty where another program wrote it."""
    try:
        return str(json.loads(source)["uri"])
    except (ValueError, LookupError, TypeError):
        return ""
