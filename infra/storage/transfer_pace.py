"""How fast the bytes of a file come: a server that trickles would hold a run for days."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from infra.storage.file_systems import ATTEMPTS, allowed_seconds
from infra.storage.transfer import StoreError

_ENOUGH_BYTES = 64 << 20
"""After so many, slowness before them is forgotten."""


class Pace:
    """Of one file, over all answers that bring it; what is done between them does not count."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._came, self._waited, self._slow = 0, 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within it the server has its turn, whatever comes of it."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - begun

    def add(self, num_bytes: int) -> None:
        """So many bytes came.

        Raises:
            TimeoutError: that took far too long: ask for the rest anew.
            StoreError: it did so as often as there are attempts.
        """
        self._came += num_bytes
        if self._waited > allowed_seconds(self._came):
            told = f"{self._came} bytes came in {self._waited:.0f} s"
            self._came, self._waited, self._slow = 0, 0.0, self._slow + 1
            if self._slow < ATTEMPTS:
                raise TimeoutError(told)
            raise StoreError(
                f"{self._path} was too slow {ATTEMPTS} times, at last {told}. Look after the store "
                "or the network, then run again: what is finished is kept."
            )
        if self._came > _ENOUGH_BYTES:
            self._came, self._waited, self._slow = 0, 0.0, 0
