"""Files that lie outside the store: recordings and manifests on any machine."""

import errno
import io
import stat
from pathlib import Path
from typing import BinaryIO, cast

from infra.remote import BLOCK_BYTES, RemoteFile, open_file_system, read_range, size_of


class FileTooLargeError(OSError):
    """A file is larger than what its reader allows."""


def read_url(url: str, max_bytes: int) -> bytes:
    """The whole file at a path or fsspec URL of any store.

    Raises:
        FileNotFoundError: and its like, where no file can be read there.
        FileTooLargeError: it has more than `max_bytes`; nothing was read.
        StoreError: the store does not answer.
    """
    file_system, path = open_file_system(url)
    is_local = "file" in file_system.protocol
    size = _size_of_regular(path) if is_local else size_of(file_system, path)
    if size is not None and size > max_bytes:
        raise FileTooLargeError(errno.EFBIG, f"has {size} bytes, at most {max_bytes} are read", url)
    if is_local:
        return Path(path).read_bytes()
    if size is not None:
        return read_range(file_system, path, 0, size)
    with file_system.open(path, "rb") as stream:
        data = bytes(stream.read(max_bytes + 1))
    if len(data) > max_bytes:
        raise FileTooLargeError(errno.EFBIG, f"has more than {max_bytes} bytes", url)
    return data


def read_part(url: str, begin: int, num_bytes: int | None, max_bytes: int) -> bytes:
    """A part of the file at a path or fsspec URL of any store, to its end without `num_bytes`.

    Raises:
        FileNotFoundError: and its like, where no file can be read there, or it ends before.
        FileTooLargeError: the part has more than `max_bytes`; nothing was read.
        StoreError: the store does not answer.
    """
    file_system, path = open_file_system(url)
    is_local = "file" in file_system.protocol
    size = _size_of_regular(path) if is_local else size_of(file_system, path)
    if size is None:
        raise FileNotFoundError(errno.ENOENT, "has no known size, so no part of it is read", url)
    end = size if num_bytes is None else begin + num_bytes
    if not begin < end <= size:
        raise FileNotFoundError(
            errno.ENOENT, f"has {size} bytes, the recording would be bytes {begin} to {end}", url
        )
    if end - begin > max_bytes:
        raise FileTooLargeError(
            errno.EFBIG, f"has {end - begin} bytes, at most {max_bytes} are read", url
        )
    if not is_local:
        return read_range(file_system, path, begin, end)
    with Path(path).open("rb") as stream:
        stream.seek(begin)
        return stream.read(end - begin)


def open_url(url: str) -> BinaryIO:
    """A file at a path or fsspec URL of any store, for reading bytes from the start to the end.

    Raises:
        FileNotFoundError: and its like.
    """
    file_system, path = open_file_system(url)
    if "file" in file_system.protocol:
        _size_of_regular(path)
        return Path(path).open("rb")
    return cast(BinaryIO, io.BufferedReader(RemoteFile(file_system, path), BLOCK_BYTES))


def _size_of_regular(path: str) -> int:
    """A device has no end and a pipe may never begin, so neither is read."""
    found = Path(path).stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", path)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "is a device or a pipe, no regular file", path)
    return found.st_size
