"""A least throughput for reading: a server that trickles would hold a run for days."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from infra.storage.file_systems import ATTEMPTS, allowed_seconds
from infra.storage.transfer import REMEDY, StoreError

_WINDOW_BYTES = 64 << 20
"""After so many bytes, how long those before them took is forgotten."""


class MinThroughput:
    """Holds the answers that bring one file to a least throughput; pauses between do not count."""

    def __init__(self, path: str) -> None:
        """`path`: of the file, for messages."""
        self._path = path
        self._num_bytes, self._seconds, self._num_slow = 0, 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within the context as the server's."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._seconds += time.monotonic() - begun

    def add(self, num_bytes: int) -> None:
        """Count bytes that came.

        Raises:
            TimeoutError: they took far too long; the rest should be asked for anew.
            StoreError: that happened as often as there are attempts.
        """
        self._num_bytes += num_bytes
        if self._seconds > allowed_seconds(self._num_bytes):
            detail = f"{self._num_bytes} bytes came in {self._seconds:.0f} s"
            self._forget()
            self._num_slow += 1
            if self._num_slow < ATTEMPTS:
                raise TimeoutError(detail)
            raise StoreError(
                f"{self._path} was too slow {ATTEMPTS} times, at last {detail}. {REMEDY}"
            )
        if self._num_bytes > _WINDOW_BYTES:
            self._forget()
            self._num_slow = 0

    def _forget(self) -> None:
        self._num_bytes, self._seconds = 0, 0.0
