"""A store whose writes are retried: for what a run of days must not lose to a short outage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from infra.retry import RetryPolicy
from infra.storage.store import Store, files_below


@dataclass(frozen=True)
class RetryingStore:
    """Writes each file again until it is there; a failed attempt leaves no part of one."""

    store: Store
    progress: Callable[[str], None]
    """Gets a line for each failure that is followed by another attempt."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write a whole file."""
        self.retry.run(lambda: self.store.write_bytes(key, data), f"upload of {key}", self.progress)

    def upload(self, folder: Path, key: str) -> None:
        """Copy every file below the local `folder` to below `key`."""
        for path, name in files_below(folder, key):
            self.retry.run(
                partial(self.store.upload_file, path, name), f"upload of {name}", self.progress
            )
