"""Brings files of training states to this machine's disk, verified, for all workers of a node.

A file is mapped into memory, not read: all workers that map it share its pages, which the system
takes back when it needs them. A local store has it already. From any other one the first worker
that asks downloads it, and the others of its node wait for that copy.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_contracts.digest import digest_of, digest_of_stream
from infra.file_lock import hold
from infra.storage.store import Store


class DamagedStateError(Exception):
    """A training state can't be used; the message has the reason."""


@dataclass(frozen=True)
class LocalFiles:
    """Files of `store` as they are on this machine."""

    store: Store
    scratch: Path
    """A local folder for copies, which all workers of a node see."""

    def fetch(self, key: str, sha256: str) -> Path:
        """Return the local path of the file `key`, whose digest was compared.

        Raises:
            DamagedStateError: it is missing, or its bytes are others.
            DiskFullError: there is no room for a copy.
        """
        if self.store.is_local:
            return self._verified(Path(self.store.path(key)), key, sha256)
        with hold(self._copies):
            copy = self._copies / sha256
            with suppress(DamagedStateError):  # there may be one that a lost node left behind
                return self._verified(copy, key, sha256)
            self._download(key, copy.name)
            return self._verified(copy, key, sha256)

    def forget(self) -> None:
        """Delete the copies, once every worker has taken what it needs."""
        shutil.rmtree(self._copies, ignore_errors=True)

    @property
    def _copies(self) -> Path:
        return self.scratch / f"states-{digest_of(self.store.url)[:16]}"

    def _download(self, key: str, name: str) -> None:
        if self.store.exists(key):
            with (
                self.store.open(key) as stream,
                Store(str(self._copies)).create(name) as file,
            ):
                shutil.copyfileobj(stream, file)

    def _verified(self, path: Path, key: str, sha256: str) -> Path:
        name = key.rpartition("/")[2]
        if not path.is_file():
            raise DamagedStateError(f"{name} is missing")
        with path.open("rb") as stream:
            if digest_of_stream(stream) != sha256:
                raise DamagedStateError(f"{name} has {path.stat().st_size} bytes of another sha256")
        return path
