"""How fast the bytes of a file come: an answer that trickles would hold a run for days."""

import time
from collections.abc import Callable

from infra.remote import ATTEMPTS, allowed_seconds
from infra.transfer import StoreError

_ENOUGH_BYTES = 64 << 20
"""After so many of one answer, slow ones before it are forgotten."""


class Pace:
    """Of one file, over all answers that bring it. Only waiting counts, not what is done between.

    Raises:
        TimeoutError: an answer takes far too long for what it brought: ask again.
        StoreError: as many answers in turn did as there are attempts.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._came, self._waited, self._slow = 0, 0.0, 0

    def restart(self) -> None:
        """Another answer begins."""
        self._came, self._waited = 0, 0.0

    def timed(self, read: Callable[[], bytes]) -> bytes:
        """What `read` brings."""
        begun = time.monotonic()
        data = read()
        self._waited += time.monotonic() - begun
        self._came += len(data)
        if self._came > _ENOUGH_BYTES:
            self._slow = 0
        if self._waited <= allowed_seconds(self._came):
            return data
        self._slow += 1
        told = f"{self._came} bytes came in {self._waited:.0f} s"
        if self._slow < ATTEMPTS:
            raise TimeoutError(told)
        raise StoreError(
            f"{self._path} was too slow {ATTEMPTS} times, at last {told}. Look after the store or "
            "the network, then run again: what is finished is kept."
        )
