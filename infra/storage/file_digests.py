"""A cache of the digests of large local files, valid by size and time of the last change.

Only plans may use it: a run, whose artifacts bear the digest, always reads the bytes.
"""

import json
from pathlib import Path
from typing import Any

from data_contracts.sealed_json import seal, unseal
from infra.storage.store import Store


class FileDigests:
    """sha256 by path, valid as long as size and time of the last change (ns) stay the same."""

    def __init__(self, cache: Path) -> None:
        """`cache`: a JSON file, which need not exist."""
        self._cache = cache
        self._known = self._read()

    def digest(self, store: Store, key: str) -> str:
        """Return `store.digest(key)`; files of other machines are read each time."""
        if not store.is_local:
            return store.digest(key)
        path = Path(store.path(key)).resolve()
        state = path.stat()
        size_and_time = [state.st_size, state.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != size_and_time:
            known = [*size_and_time, store.digest(key)]
            self._known[str(path)] = known
            folder = Store(str(self._cache.parent))
            folder.write_text(self._cache.name, json.dumps(seal(self._known), indent=1))
        return str(known[2])

    def _read(self) -> dict[str, Any]:
        """Read what an earlier process left; a file that is no such cache, or changed, is none."""
        try:
            return unseal(json.loads(self._cache.read_bytes()))
        except (OSError, ValueError):
            return {}
