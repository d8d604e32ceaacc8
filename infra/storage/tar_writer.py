"""A plain tar whose bytes depend on the members alone: no owner, no time, no machine."""

import hashlib
import tarfile
from typing import BinaryIO

_BLOCK = 512
_RECORD = 20 * _BLOCK
"""A tar ends with two empty blocks and is filled up to whole records."""


class TarWriter:
    """Writes members behind one another and knows the digest of what it wrote."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sha = hashlib.sha256()
        self.size = 0
        """Bytes so far."""

    def add(self, name: str, data: bytes) -> int:
        """Write a file; returns the byte of the tar at which its data begin."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o444, 0
        info.uname = info.gname = "q2a"
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.size
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))
        return offset

    def finish(self) -> str:
        """Write the end mark; returns the sha256 of the whole tar."""
        end = self.size + 2 * _BLOCK
        self._write(bytes(end + -end % _RECORD - self.size))
        return self._sha.hexdigest()

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._sha.update(data)
        self.size += len(data)
