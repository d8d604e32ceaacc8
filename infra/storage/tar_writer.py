"""A writer of plain tars whose bytes depend on the members alone: no owner, time or machine."""

import hashlib
import tarfile
from typing import BinaryIO

from infra.storage.tar_reader import BLOCK

_RECORD = 20 * BLOCK
"""A tar ends with two empty blocks and is filled up to whole records."""


class TarWriter:
    """Writes members one after the other and counts size and digest of what it wrote."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sha = hashlib.sha256()
        self.size = 0
        """Bytes that were written so far."""

    def add(self, name: str, data: bytes) -> int:
        """Write a file; return the byte of the tar at which its data begin."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o444, 0
        info.uname = info.gname = "q2a"
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.size
        self._write(data)
        self._write(bytes(-len(data) % BLOCK))
        return offset

    def finish(self) -> str:
        """Write the end mark; return the sha256 of the whole tar."""
        end = self.size + 2 * BLOCK
        self._write(bytes(end + -end % _RECORD - self.size))
        return self._sha.hexdigest()

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._sha.update(data)
        self.size += len(data)
