"""Writes to a store that fails now and then."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from infra.retry import Patience
from infra.storage.store import Store


@dataclass(frozen=True)
class PatientStore:
    """Tries each file again until it is there; what a failed attempt leaves is never a file."""

    store: Store
    say: Callable[[str], None]
    """Is told of each failure that is followed by another attempt."""
    patience: Patience = field(default_factory=Patience)

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write a whole file."""
        self.patience.run(lambda: self.store.write_bytes(key, data), f"upload of {key}", self.say)

    def upload(self, folder: Path, key: str) -> None:
        """Copy every file below the local `folder` to below `key`."""
        for source in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{key}/{source.relative_to(folder).as_posix()}"
            self.patience.run(partial(self._copy, source, name), f"upload of {name}", self.say)

    def _copy(self, source: Path, name: str) -> None:
        with source.open("rb") as stream, self.store.create(name) as target:
            shutil.copyfileobj(stream, target)
