"""File systems that can fail for a while: what is tried again, how often, and what is logged.

Every access to a store is tried again here, for seconds; `RetryingStore` goes on for minutes above,
with what a training must not lose. Below, botocore silently repeats a single request some times (a
part of an upload must not cost the whole); what outlasts that is repeated here, and the log has a
line for it. Short answers count as failures: a truncated object is never taken for a whole one.
"""

import errno
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from fsspec.asyn import sync
from fsspec.core import url_to_fs

from infra.retry import RetryPolicy, error_text
from infra.storage.s3 import S3Receiver
from infra.storage.s3_refusals import access_error, refusal_code
from infra.storage.transfer import REMEDY, StoreError, TruncatedError

T = TypeVar("T")

ATTEMPTS = 6
FIRST_BACKOFF_SECONDS = 0.5
"""Doubled after each attempt: 15 s of waiting in all."""
MIN_BYTES_PER_SECOND = 64 << 10
"""A transfer that is slower counts as failed: a server that trickles would hold a run for days."""
GRACE_SECONDS = 30.0
"""Seconds that a transfer may take besides."""
_S3_CONFIG = {"retries": {"mode": "standard", "total_max_attempts": 3}}
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a disk that takes no more."""
_PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_PERMANENT_ERRNO = DISK_FULL | {errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
_NETWORK_LIBRARIES = frozenset({"aiohttp", "botocore", "aiobotocore", "urllib3", "http"})
_MAX_ERROR_CHARACTERS = 300
_log = logging.getLogger(__name__)


def open_file_system(url: str, **options: Any) -> tuple[Any, str]:
    """Open the fsspec file system of a URL; return it with the path on it."""
    if url.startswith(("s3://", "s3a://")):
        config = {"config_kwargs": _S3_CONFIG | options.pop("config_kwargs", {})}
        file_system, path = url_to_fs(url, **options, **config)
        file_system.retries = 1  # botocore's and ours are enough
        if not hasattr(file_system, "receiver"):  # file systems of the same options are one
            file_system.receiver = S3Receiver(file_system)
        return file_system, path
    file_system, path = url_to_fs(url, **options)
    return file_system, path


def retried(file_system: Any, operation: Callable[[], T], name: str) -> T:
    """Return the result of `operation`, which is called again while it fails as a network does.

    Raises:
        StoreAccessError: an S3 server refuses it, for a reason that a person can end.
        StoreError: it failed `ATTEMPTS` times.
        Exception: another attempt would end alike (no such file, no right, a full disk).
    """
    policy = RetryPolicy(
        seconds=0, attempts=ATTEMPTS, first_backoff_seconds=FIRST_BACKOFF_SECONDS,
        is_retryable=is_transient, error_text=_error_text,
    )  # fmt: skip
    try:
        return policy.run(operation, name, _log.warning)
    except Exception as error:
        if code := refusal_code(error):
            raise access_error(file_system, name, code) from error
        if not is_transient(error):
            raise
        raise StoreError(
            f"{name} failed {ATTEMPTS} times, at last with {_error_text(error)}. {REMEDY}"
        ) from error


def is_transient(error: Exception) -> bool:
    """Return whether the same call may succeed later."""
    if refusal_code(error):
        return False
    if isinstance(error, FileNotFoundError) and _library_of(error.__cause__) == "aiohttp":
        # fsspec makes this of every HTTP failure; only a missing file has no such cause.
        return getattr(error.__cause__, "status", None) not in (401, 403, 404, 410)
    if isinstance(error, OSError):
        permanent = isinstance(error, (*_PERMANENT, StoreError))
        return not permanent and error.errno not in _PERMANENT_ERRNO
    return _library_of(error) in _NETWORK_LIBRARIES


def size_of(file_system: Any, path: str) -> int | None:
    """Return the size of a file in bytes, None where the server does not give it."""
    return retried(file_system, lambda: stated_size(file_system, path), f"asking for {path}")


def stated_size(file_system: Any, path: str) -> int | None:
    """Return the size of a file from one request, None where the server does not give it."""
    info = file_system.info(path)
    if info["type"] == "directory":
        raise IsADirectoryError(errno.EISDIR, "is a folder", path)
    size: int | None = info["size"]
    return size


def put_file(file_system: Any, source: str, target: str, size: int) -> None:
    """Copy a local file of `size` bytes to `target`, and check that it arrived whole."""

    def put() -> None:
        call(file_system, "put_file", size, source, target)
        if (arrived := file_system.info(target)["size"]) != size:
            raise TruncatedError(f"{arrived} of {size} bytes arrived")

    retried(file_system, put, f"writing {target}")


def call(file_system: Any, name: str, num_bytes: int, *args: Any, **kwargs: Any) -> Any:
    """Call a method that transfers `num_bytes`, with a timeout where the file system has any."""
    if not file_system.async_impl:
        return getattr(file_system, name)(*args, **kwargs)
    transfer = getattr(file_system, f"_{name}")
    return sync(file_system.loop, transfer, *args, timeout=allowed_seconds(num_bytes), **kwargs)


def allowed_seconds(num_bytes: int) -> float:
    """Return the most seconds that a transfer may take."""
    return GRACE_SECONDS + num_bytes / MIN_BYTES_PER_SECOND


def _library_of(error: BaseException | None) -> str:
    return type(error).__module__.partition(".")[0]


def _error_text(error: Exception) -> str:
    cause = error.__cause__ if _library_of(error.__cause__) in _NETWORK_LIBRARIES else None
    return error_text(cause or error)[:_MAX_ERROR_CHARACTERS]
