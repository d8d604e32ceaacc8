"""Files outside of the store: recordings and manifests on any machine."""

import errno
import stat
from pathlib import Path
from typing import BinaryIO, cast

from infra.storage.file_systems import open_file_system, retried, size_of
from infra.storage.remote_file import RemoteFile, read_unsized


class FileTooLargeError(OSError):
    """A file is larger than its reader allows."""


def read_url(url: str, max_bytes: int, begin_byte: int = 0, num_bytes: int | None = None) -> bytes:
    """Read the file at a path or fsspec URL, or `num_bytes` of it from `begin_byte` on.

    Raises:
        FileNotFoundError: and its like, where no file can be read there, or it ends before.
        FileTooLargeError: it has more than `max_bytes`; nothing was read.
        StoreError: the store failed in every attempt.
    """
    file_system, path = open_file_system(url)
    is_local = "file" in file_system.protocol
    size = _size_of_regular(path) if is_local else size_of(file_system, path)
    if size is None:
        most = begin_byte + max_bytes + 1
        data = retried(
            file_system, lambda: read_unsized(file_system, path, most), f"reading {path}"
        )
        size = len(data)
    else:
        data = None
    wanted = max(size - begin_byte, 0) if num_bytes is None else num_bytes
    if wanted > max_bytes:
        raise FileTooLargeError(
            errno.EFBIG, f"has {wanted} bytes, at most {max_bytes} are read", url
        )
    end = begin_byte + wanted
    if end > size:
        detail = f"ends after {size} bytes, before byte {end}, where the recording would end"
        raise FileNotFoundError(errno.ENOENT, detail, url)
    if data is not None:
        return data[begin_byte:end]
    if not is_local:
        with RemoteFile(file_system, path, begin_byte, end, size) as remote:
            return remote.read()
    with Path(path).open("rb") as stream:
        stream.seek(begin_byte)
        return stream.read(wanted)


def open_url(url: str) -> BinaryIO:
    """Open the file at a path or fsspec URL for reading bytes from the start to the end.

    Raises:
        FileNotFoundError: and its like.
    """
    file_system, path = open_file_system(url)
    if "file" in file_system.protocol:
        _size_of_regular(path)
        return Path(path).open("rb")
    return cast(BinaryIO, RemoteFile(file_system, path))


def _size_of_regular(path: str) -> int:
    """Return the size of a regular file; a device has no end and a pipe may never begin."""
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", path)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "is a device or a pipe, no regular file", path)
    return status.st_size
