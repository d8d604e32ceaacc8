"""Digests of large local files that are looked at again and again, remembered by size and time.

For looking only: a run, whose artifacts bear the digest, always reads the bytes.
"""

import json
from pathlib import Path

from infra.storage.store import Store


class FileDigests:
    """sha256 by path, valid as long as size and time of the last change (ns) are the same."""

    def __init__(self, memory: Path) -> None:
        """`memory`: a JSON file, which need not exist."""
        self._memory = memory
        self._known = self._read()

    def digest(self, store: Store, key: str) -> str:
        """As `Store.digest`; files of other machines are read each time."""
        if not store.is_local:
            return store.digest(key)
        path = Path(store.path(key)).resolve()
        state = path.stat()
        seen = [state.st_size, state.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != seen:
            known = [*seen, store.digest(key)]
            self._known[str(path)] = known
            folder = Store(str(self._memory.parent))
            folder.write_text(self._memory.name, json.dumps(self._known, indent=1))
        return str(known[2])

    def _read(self) -> dict[str, list[int | str]]:
        """What an earlier process remembered; a file that is none is as good as no file."""
        try:
            found = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
