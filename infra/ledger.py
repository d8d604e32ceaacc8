"""The ledger: which artifacts are finished, whether they are whole, and who may write one.

Its entries lie beside the artifacts: `{store}/{stage}/{fingerprint}/record.json`. It needs neither
Prefect's database nor MLflow, and copying the store copies it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from data_contracts.digest import digest_of, digest_of_stream
from data_contracts.errors import UsageError
from data_contracts.stage_record import RECORD, SCRATCH, OutputFile, StageRecord
from infra.file_lock import hold
from infra.storage.source_files import open_url
from infra.storage.store import Store

_OTHER_BYTES = "its sha256 differs from the recorded one"


class LockError(UsageError, OSError):
    """An artifact's folder can't be made or locked."""


@dataclass(frozen=True)
class Damage:
    """A file of a finished artifact, or one that it refers to, that differs from its record."""

    path: str
    """Relative to the artifact's folder; the URL of a file that it refers to."""
    problem: str
    """How it differs, for messages."""


class Ledger:
    """Finds, verifies, locks and completes artifacts in a store."""

    def __init__(self, store: Store, lock_folder: Path) -> None:
        """`lock_folder`: local folder for the locks of a remote store, shared by its processes."""
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
                damages.append(Damage(file.path, _OTHER_BYTES))
        for reference in record.references:
            try:
                with open_url(reference.url) as stream:
                    is_same = digest_of_stream(stream) == reference.sha256
            except (FileNotFoundError, IsADirectoryError):
                damages.append(Damage(reference.url, "missing"))
            else:
                damages += [] if is_same else [Damage(reference.url, _OTHER_BYTES)]
        return damages

    def discard(self, record: StageRecord, damages: list[Damage]) -> None:
        """Make a damaged artifact unfinished again: delete its record, then the damaged files.

        Files alone are deleted, and where a link leads out of the artifact's folder, none.
        """
        directory = self.directory(record.stage, record.fingerprint)
        directory.delete(RECORD)
        damaged = {damage.path for damage in damages}
        for file in record.files:
            if file.path in damaged and directory.exists(file.path) and directory.holds(file.path):
                directory.delete(file.path)

    def list_files(self, stage: str, fingerprint: str) -> tuple[OutputFile, ...]:
        """Return the files that the artifact consists of now, with size and digest."""
        directory = self.directory(stage, fingerprint)
        return tuple(
            OutputFile(path=key, size=directory.size(key), sha256=directory.digest(key))
            for key in directory.list_keys()
            if key != RECORD and not key.startswith(SCRATCH)
        )

    def complete(self, record: StageRecord) -> None:
        """Write the record, which makes the artifact finished; then delete its helper files.

        The caller holds the artifact's lock.
        """
        directory = self.directory(record.stage, record.fingerprint)
        directory.write_bytes(RECORD, record.to_json())
        self.delete_leftovers(record)

    def delete_leftovers(self, record: StageRecord) -> None:
        """Delete scratch files, and what killed writers left, from a finished artifact.

        The caller holds the artifact's lock.
        """
        directory = self.directory(record.stage, record.fingerprint)
        directory.delete_partial_files()
        with suppress(OSError):  # the next run of this artifact tries again
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
    def lock(
        self, stage: str, fingerprint: str, on_wait: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Hold the only right to write an artifact.

        In a local store, it is the lock of the artifact's folder, for all users of this machine;
        a read-only store gives it too. Two machines that share a store, and two homes with one
        object store, are kept apart by the scheduler alone, until leases in the store do it.

        Args:
            on_wait: function that is called once where another run holds it.

        Raises:
            LockError: the folder can't be made or locked.
        """
        with ExitStack() as stack:
            folder = self._folder_to_lock(stage, fingerprint)
            try:
                stack.enter_context(hold(folder, on_wait))
            except OSError as error:
                raise LockError(
                    f"the artifact of {stage} has to be made, but its folder {folder} can't be "
                    f"made or locked ({error.strerror}). Let this user write into the store, or "
                    "name another store (Q2A_STORE, Q2A_HOME)"
                ) from error
            yield

    def _folder_to_lock(self, stage: str, fingerprint: str) -> Path:
        directory = self.directory(stage, fingerprint)
        if directory.is_local:
            return Path(directory.url)
        return self._lock_folder / f"{stage}-{digest_of([directory.url])[:32]}"


def _read_record(store: Store, key: str) -> StageRecord | None:
    """Read the record at `{stage}/{fingerprint}/record.json`; None where it can't be believed."""
    try:
        record = StageRecord.from_json(store.read_bytes(key))
    except ValueError:
        return None
    stage, fingerprint, _ = key.split("/")
    return record if (record.stage, record.fingerprint) == (stage, fingerprint) else None
