"""File systems that can fail for a while: what is tried again, how often, and what is said.

Every access to a store is tried again here, for seconds; `PatientStore` goes on for minutes above,
with what a training must not lose. Below, botocore repeats a single request some times without a
word (a part of an upload must not cost the whole); what outlasts that is repeated here, and the log
says so. Short answers count as failures: a truncated object is never taken for a whole one.
"""

import errno
import io
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fsspec.asyn import sync
from fsspec.core import url_to_fs

from infra.patience import Patience

T = TypeVar("T")

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.5
"""Doubled after each attempt: 15 s of waiting in all."""
SLOWEST_BYTES_PER_SECOND = 64 << 10
"""A transfer that is slower counts as failed: a server that trickles would hold a run for days."""
PATIENCE_SECONDS = 30.0
"""What a transfer may take besides."""
BLOCK_BYTES = 64 << 20
"""What sequential reading fetches at once. A request through s3fs takes 3 ms besides its bytes, in
which a fast server sends 4 MB: in blocks of 8 MB two thirds of its rate are reached."""
_LINE_BYTES = 8 << 10
_PIECE_BYTES = 256 << 10
"""Most bytes of an answer that are passed on at once."""

_S3_OPTIONS = {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 3}}}
_PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_PERMANENT_ERRNO = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
)
_NETWORK_LIBRARIES = frozenset({"aiohttp", "botocore", "aiobotocore", "urllib3", "http"})
_log = logging.getLogger(__name__)


class StoreError(OSError):
    """A store that did not do what it was asked, however often; says what was tried."""


class TruncatedError(OSError):
    """Fewer bytes came, or are there, than there must be."""


def open_file_system(url: str, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path on it."""
    if url.startswith(("s3://", "s3a://")):
        file_system, path = url_to_fs(url, **(_S3_OPTIONS | options))
        file_system.retries = 1  # botocore's and ours are enough
        return file_system, path
    return url_to_fs(url, **options)


def retried(operation: Callable[[], T], what: str) -> T:
    """The result of `operation`, which is called again while it fails as a network does.

    Raises:
        StoreError: it failed `ATTEMPTS` times.
        Exception: what another time would not change (no such file, no right, a full disk).
    """
    patience = Patience(
        seconds=0, attempts=ATTEMPTS, first_pause=FIRST_WAIT_SECONDS,
        may_pass=is_transient, in_words=_told,
    )  # fmt: skip
    try:
        return patience.run(operation, what, _log.warning)
    except Exception as error:
        if not is_transient(error):
            raise
        raise StoreError(
            f"{what} failed {ATTEMPTS} times, at last with {_told(error)}. Look after the store or "
            "the network, then run again: what is finished is kept."
        ) from error


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, FileNotFoundError) and _library_of(error.__cause__) == "aiohttp":
        # fsspec calls every failure of an HTTP server this; only a missing file has no such cause.
        return getattr(error.__cause__, "status", None) not in (401, 403, 404, 410)
    if isinstance(error, OSError):
        permanent = isinstance(error, (*_PERMANENT, StoreError))
        return not permanent and error.errno not in _PERMANENT_ERRNO
    return _library_of(error) in _NETWORK_LIBRARIES


def size_of(file_system: Any, path: str) -> int | None:
    """Size in bytes, None where the server does not tell."""
    info = retried(lambda: file_system.info(path), f"asking for {path}")
    if info["type"] == "directory":
        raise IsADirectoryError(errno.EISDIR, "is a folder", path)
    return info["size"]


def read_range(file_system: Any, path: str, start: int, end: int) -> bytes:
    """Bytes `start` to `end` (exclusive) of a file, all of them."""

    def fetch() -> bytes:
        if "s3" in file_system.protocol:
            data = _wait(file_system, end - start, _get(file_system, path, start, end))
        else:
            data = _call(file_system, "cat_file", end - start, path, start=start, end=end)
        if len(data) != end - start:
            raise TruncatedError(f"{len(data)} of {end - start} bytes came")
        return bytes(data)

    return retried(fetch, f"reading {path} from byte {start}") if end > start else b""


def put_file(file_system: Any, source: str, target: str, size: int) -> None:
    """Copy a local file of `size` bytes to `target`, and look whether it arrived whole."""

    def put() -> None:
        _call(file_system, "put_file", size, source, target)
        if (found := file_system.info(target)["size"]) != size:
            raise TruncatedError(f"{found} of {size} bytes arrived")

    retried(put, f"writing {target}")


class RemoteFile(io.BufferedIOBase):
    """A file on another machine, read by ranges of `BLOCK_BYTES`.

    It keeps the block that it got; a `BufferedReader` would copy all of it into one of its own.

    Raises:
        FileNotFoundError: when it is made.
    """

    def __init__(self, file_system: Any, path: str) -> None:
        self._file_system, self._path = file_system, path
        self._size = size_of(file_system, path) or 0
        self._position = 0
        self._block, self._begin = b"", 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: a read beyond the block asks for another range."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; returns it, in bytes from the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end; all that are left where it is negative."""
        left = max(self._size - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces = []
        while wanted > 0:
            pieces.append(self._next(wanted))
            wanted -= len(pieces[-1])
            self._position += len(pieces[-1])
        return b"".join(pieces)  # of one piece itself, without a copy

    def read1(self, size: int = -1, /) -> bytes:
        """The same."""
        return self.read(size)

    def peek(self, _: int = 0, /) -> bytes:
        """Some bytes from here on, which stay to be read: `readline` looks for its end in them."""
        return self._next(_LINE_BYTES)

    def _next(self, size: int) -> bytes:
        """At most `size` bytes from here on, none only at the end."""
        offset = self._position - self._begin
        if not 0 <= offset < len(self._block):
            self._block, self._begin, offset = b"", self._position, 0  # one at a time in memory
            end = min(self._begin + BLOCK_BYTES, self._size)
            self._block = read_range(self._file_system, self._path, self._begin, end)
        return self._block[offset : offset + size]


async def _get(file_system: Any, path: str, start: int, end: int) -> bytes:
    """Bytes of an S3 object, put where they belong as they arrive. s3fs's `cat_file` collects the
    pieces and joins them at the end, for which a fast server has to wait.
    """
    bucket, key, _ = file_system.split_path(path)
    answer = await file_system._call_s3(
        "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}"
    )
    found = io.BytesIO()
    found.seek(end - start - 1)  # takes the room at once
    found.write(b"\0")
    found.seek(0)
    try:
        async for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
            found.write(piece)
    finally:
        answer["Body"].close()
    found.truncate()
    return found.getvalue()  # no copy


def _call(file_system: Any, name: str, num_bytes: int, *args: Any, **kwargs: Any) -> Any:
    """Call a transferring method."""
    if not file_system.async_impl:
        return getattr(file_system, name)(*args, **kwargs)
    return _wait(file_system, num_bytes, getattr(file_system, f"_{name}")(*args, **kwargs))


def _wait(file_system: Any, num_bytes: int, transfer: Coroutine[Any, Any, T]) -> T:
    """The result of a transfer; one that takes far too long for its bytes is given up."""
    allowed = PATIENCE_SECONDS + num_bytes / SLOWEST_BYTES_PER_SECOND
    return sync(file_system.loop, lambda: transfer, timeout=allowed)


def _library_of(error: BaseException | None) -> str:
    return type(error).__module__.partition(".")[0]


def _told(error: Exception) -> str:
    cause = error.__cause__ if _library_of(error.__cause__) in _NETWORK_LIBRARIES else None
    return f"{type(cause or error).__name__}: {cause or error}"[:300]
