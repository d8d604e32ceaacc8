"""File systems that can fail for a while: what is tried again, how often, and what is said.

Every access to a store is tried again here, for seconds; `PatientStore` goes on for minutes above,
with what a training must not lose. Below, botocore repeats a single request some times without a
word (a part of an upload must not cost the whole); what outlasts that is repeated here, and the log
says so. Short answers count as failures: a truncated object is never taken for a whole one.
"""

import errno
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from fsspec.asyn import sync
from fsspec.core import url_to_fs

from infra.retry import RetryPolicy, error_text
from infra.storage.s3 import S3Receiver
from infra.storage.transfer import StoreError, TruncatedError

T = TypeVar("T")

ATTEMPTS = 6
FIRST_BACKOFF_SECONDS = 0.5
"""Doubled after each attempt: 15 s of waiting in all."""
SLOWEST_BYTES_PER_SECOND = 64 << 10
"""A transfer that is slower counts as failed: a server that trickles would hold a run for days."""
PATIENCE_SECONDS = 30.0
"""What a transfer may take besides."""
_S3_CONFIG = {"retries": {"mode": "standard", "total_max_attempts": 3}}
_PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_PERMANENT_ERRNO = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
)
_OF_SETTINGS = frozenset(
    {"ParamValidationError", "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
)
"""botocore's errors that another attempt would not change."""
_NETWORK_LIBRARIES = frozenset({"aiohttp", "botocore", "aiobotocore", "urllib3", "http"})
_MAX_ERROR_CHARACTERS = 300
_log = logging.getLogger(__name__)


def open_file_system(url: str, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path on it."""
    if url.startswith(("s3://", "s3a://")):
        config = {"config_kwargs": _S3_CONFIG | options.pop("config_kwargs", {})}
        file_system, path = url_to_fs(url, **options, **config)
        file_system.retries = 1  # botocore's and ours are enough
        if not hasattr(file_system, "receiver"):  # file systems of the same options are one
            file_system.receiver = S3Receiver(file_system)
        return file_system, path
    file_system, path = url_to_fs(url, **options)
    return file_system, path


def retried(operation: Callable[[], T], what: str) -> T:
    """The result of `operation`, which is called again while it fails as a network does.

    Raises:
        StoreError: it failed `ATTEMPTS` times.
        Exception: what another time would not change (no such file, no right, a full disk).
    """
    policy = RetryPolicy(
        seconds=0, attempts=ATTEMPTS, first_backoff_seconds=FIRST_BACKOFF_SECONDS,
        is_retryable=is_transient, error_text=_error_text,
    )  # fmt: skip
    try:
        return policy.run(operation, what, _log.warning)
    except Exception as error:
        if not is_transient(error):
            raise
        raise StoreError(
            f"{what} failed {ATTEMPTS} times, at last with {_error_text(error)}. Look after the "
            "store or the network, then run again: what is finished is kept."
        ) from error


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, FileNotFoundError) and _library_of(error.__cause__) == "aiohttp":
        # fsspec calls every failure of an HTTP server this; only a missing file has no such cause.
        return getattr(error.__cause__, "status", None) not in (401, 403, 404, 410)
    if isinstance(error, OSError):
        permanent = isinstance(error, (*_PERMANENT, StoreError))
        return not permanent and error.errno not in _PERMANENT_ERRNO
    return _library_of(error) in _NETWORK_LIBRARIES and type(error).__name__ not in _OF_SETTINGS


def size_of(file_system: Any, path: str) -> int | None:
    """Size in bytes, None where the server does not tell."""
    return retried(lambda: stated_size(file_system, path), f"asking for {path}")


def stated_size(file_system: Any, path: str) -> int | None:
    """The same, asked for once."""
    info = file_system.info(path)
    if info["type"] == "directory":
        raise IsADirectoryError(errno.EISDIR, "is a folder", path)
    size: int | None = info["size"]
    return size


def put_file(file_system: Any, source: str, target: str, size: int) -> None:
    """Copy a local file of `size` bytes to `target`, and look whether it arrived whole."""

    def put() -> None:
        call(file_system, "put_file", size, source, target)
        if (found := file_system.info(target)["size"]) != size:
            raise TruncatedError(f"{found} of {size} bytes arrived")

    retried(put, f"writing {target}")


def call(file_system: Any, name: str, num_bytes: int, *args: Any, **kwargs: Any) -> Any:
    """Call a method that transfers `num_bytes`; one that takes far too long is given up, where the
    file system can.
    """
    if not file_system.async_impl:
        return getattr(file_system, name)(*args, **kwargs)
    transfer = getattr(file_system, f"_{name}")
    return sync(file_system.loop, transfer, *args, timeout=allowed_seconds(num_bytes), **kwargs)


def allowed_seconds(num_bytes: int) -> float:
    """What a transfer may take."""
    return PATIENCE_SECONDS + num_bytes / SLOWEST_BYTES_PER_SECOND


def _library_of(error: BaseException | None) -> str:
    return type(error).__module__.partition(".")[0]


def _error_text(error: Exception) -> str:
    cause = error.__cause__ if _library_of(error.__cause__) in _NETWORK_LIBRARIES else None
    return error_text(cause or error)[:_MAX_ERROR_CHARACTERS]
