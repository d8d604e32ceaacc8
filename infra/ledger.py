"""The ledger: which artifacts are finished, whether they are whole, and who may write one.

Its entries lie beside the artifacts: `{store}/{stage}/{fingerprint}/record.json`. It needs neither
Prefect's database nor MLflow, and copying the store copies it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data_contracts.digest import digest_of
from data_contracts.stage_record import RECORD, SCRATCH, OutputFile, StageRecord
from infra.storage.store import Store


@dataclass(frozen=True)
class Damage:
    """A file of a finished artifact that differs from its record."""

    path: str
    """Relative to the artifact's folder."""
    problem: str
    """How it differs, for messages."""


class Ledger:
    """Finds, verifies, locks and completes artifacts in a store."""

    def __init__(self, store: Store, lock_folder: Path) -> None:
        """`lock_folder`: local folder that all processes of this machine share."""
        self.store = store
        self._lock_folder = lock_folder

    def directory(self, stage: str, fingerprint: str) -> Store:
        """Return the artifact's folder, whether it exists or not."""
        return self.store.below(stage, fingerprint)

    def find(self, stage: str, fingerprint: str) -> StageRecord | None:
        """Return the record of a finished artifact.

        None where it is missing, was changed, breaks a rule of `StageRecord`, or speaks of another
        artifact: then the stage makes its files again.
        """
        key = f"{stage}/{fingerprint}/{RECORD}"
        return _read_record(self.store, key) if self.store.exists(key) else None

    def verify(self, record: StageRecord) -> list[Damage]:
        """Compare each file of an artifact with its recorded size and digest; return damages."""
        directory = self.directory(record.stage, record.fingerprint)
        damages = []
        for file in record.files:
            if not directory.exists(file.path):
                damages.append(Damage(file.path, "missing"))
            elif (size := directory.size(file.path)) != file.size:
                damages.append(Damage(file.path, f"{size} bytes instead of {file.size}"))
            elif directory.digest(file.path) != file.sha256:
                damages.append(Damage(file.path, "its sha256 differs from the recorded one"))
        return damages

    def discard(self, record: StageRecord, damages: list[Damage]) -> None:
        """Make a damaged artifact unfinished again: delete its record, then the damaged files.

        Files alone are deleted, and where a link leads out of the artifact's folder, none.
        """
        directory = self.directory(record.stage, record.fingerprint)
        directory.delete(RECORD)
        for damage in damages:
            if directory.exists(damage.path) and directory.holds(damage.path):
                directory.delete(damage.path)

    def list_files(self, stage: str, fingerprint: str) -> tuple[OutputFile, ...]:
        """Return the files that the artifact consists of now, with size and digest."""
        directory = self.directory(stage, fingerprint)
        return tuple(
            OutputFile(path=key, size=directory.size(key), sha256=directory.digest(key))
            for key in directory.list_keys()
            if key != RECORD and not key.startswith(SCRATCH)
        )

    def complete(self, record: StageRecord) -> None:
        """Write the record, which makes the artifact finished; then delete its scratch files.

        The caller holds the artifact's lock.
        """
        directory = self.directory(record.stage, record.fingerprint)
        directory.delete_partial_files()
        directory.write_bytes(RECORD, record.to_json())
        directory.delete(SCRATCH.rstrip("/"))

    def records(self, stage: str) -> list[StageRecord]:
        """Return the records of all finished artifacts of a stage, the newest first."""
        records = [
            _read_record(self.store, key)
            for key in self.store.list_keys(stage)
            if key.endswith("/" + RECORD) and key.count("/") == 2
        ]
        readable = [record for record in records if record is not None]
        return sorted(readable, key=lambda record: record.finished_at, reverse=True)

    @contextmanager
    def lock(self, stage: str, fingerprint: str) -> Iterator[bool]:
        """Hold the only right to write an artifact; yield whether another run held it before.

        The lock is the operating system's, so it ends with its process, also after kill -9. Two
        machines that share an object store are kept apart only by the scheduler.
        """
        self._lock_folder.mkdir(parents=True, exist_ok=True)
        name = digest_of([self.store.url, stage, fingerprint])[:32]
        lock = FileLock(self._lock_folder / f"{stage}-{name}.lock")
        try:
            lock.acquire(blocking=False)
            waited = False
        except Timeout:
            lock.acquire()
            waited = True
        try:
            yield waited
        finally:
            lock.release()


def _read_record(store: Store, key: str) -> StageRecord | None:
    """Read the record at `{stage}/{fingerprint}/record.json`; None where it can't be believed."""
    try:
        record = StageRecord.from_json(store.read_bytes(key))
    except ValueError:
        return None
    stage, fingerprint, _ = key.split("/")
    return record if (record.stage, record.fingerprint) == (stage, fingerprint) else None


def default_lock_folder() -> Path:
    """Return the folder of locks: outside of the store, shared by all processes of this machine."""
    return Path(tempfile.gettempdir()) / "q2a-locks"
