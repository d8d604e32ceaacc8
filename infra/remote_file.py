"""Files on other machines, read while they arrive."""

import io
import time
from collections.abc import Callable
from typing import Any

from infra.remote import allowed_seconds, call, retried, stated_size
from infra.s3 import Answer, TruncatedError

BLOCK_BYTES = 64 << 20
"""What is asked for at once of a file system that gives no bytes before it has all."""
_PIECE_BYTES = 256 << 10
"""What is taken from an answer at once: it stays in the processor's cache until it is used."""
_LINE_BYTES = 8 << 10
_NEAR_BYTES = 1 << 20
"""What is received and thrown away rather than asked around."""
_IDLE_SECONDS = 5.0
"""After a longer pause the rest is asked for anew: servers end what nobody takes from them."""


def read_range(file_system: Any, path: str, begin: int, end: int) -> bytes:
    """Bytes `begin` to `end` (exclusive) of a file, all of them.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: fewer come, however often they are asked for.
    """
    if end <= begin:
        return b""
    with RemoteFile(file_system, path, begin, end) as stream:
        return stream.read()


class RemoteFile(io.BufferedIOBase):
    """A file, or bytes `begin` to `end` of one, in one request where the store can stream.

    After a failure the rest is asked for, and what has come is kept.

    Raises:
        FileNotFoundError: when it is made.
        StoreError: what comes goes on failing, or the file ends before `end`.
    """

    def __init__(self, file_system: Any, path: str, begin: int = 0, end: int | None = None) -> None:
        self._file_system, self._path, self._asked_end = file_system, path, end
        self._position = self._received = self._end = begin
        self._piece = b""  # the last that was received
        self._answer: Answer | None = None
        self._last = time.monotonic()
        self._retried(self._ask)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: a place far from here costs another request."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; returns it, in bytes from the start of the file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end; all that are left where it is negative."""
        left = max(self._end - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        first = self._next(wanted)
        if len(first) == wanted:
            return first
        found = io.BytesIO()
        found.seek(wanted - 1)  # takes the room at once
        found.write(b"\0")
        found.seek(0)
        found.write(first)
        while found.tell() < wanted:
            found.write(self._next(wanted - found.tell()))
        return found.getvalue()  # no copy

    def read1(self, size: int = -1, /) -> bytes:
        """The same."""
        return self.read(size)

    def peek(self, _: int = 0, /) -> bytes:
        """Some bytes from here on, which stay to be read: `readline` looks for its end in them."""
        found = self._next(min(_LINE_BYTES, self._end - self._position))
        self._position -= len(found)
        return found

    def close(self) -> None:
        """Leave what has not come."""
        if not self.closed:
            self._drop()
        super().close()

    def _next(self, size: int) -> bytes:
        """At most `size` bytes from here on, none only where none are wanted."""
        if size <= 0:
            return b""
        if not 0 <= self._received - self._position - 1 < len(self._piece):
            self._come_here()
        offset = len(self._piece) - (self._received - self._position)
        found = self._piece[offset : offset + size]
        self._position += len(found)
        return found

    def _come_here(self) -> None:
        """Receive up to the piece that holds the next byte."""
        far = not 0 <= self._position - self._received <= _NEAR_BYTES
        if far or time.monotonic() - self._last > _IDLE_SECONDS:
            self._drop()
            self._received = self._position
        while self._received <= self._position:
            self._retried(self._receive)

    def _receive(self) -> None:
        """The next piece."""
        if self._answer is None or self._received == self._answer.end:
            self._ask()
        assert self._answer is not None
        wanted = min(_PIECE_BYTES, self._answer.end - self._received)
        pieces, missing, begun = [], wanted, time.monotonic()
        while missing:
            pieces.append(self._answer.body.read1(missing))
            missing -= len(pieces[-1])
            if not pieces[-1]:
                raise TruncatedError(f"{wanted - missing} of {wanted} bytes came")
            if missing and (waited := time.monotonic() - begun) > allowed_seconds(wanted):
                raise TimeoutError(f"{wanted - missing} of {wanted} bytes came in {waited:.0f} s")
        self._piece = b"".join(pieces)  # of one itself, without a copy
        self._received += wanted
        self._last = time.monotonic()

    def _ask(self) -> None:
        """For all that is left."""
        self._drop()
        self._answer = _ask(self._file_system, self._path, self._received, self._asked_end)
        size = self._answer.size
        if self._asked_end is not None and size < self._asked_end:
            raise TruncatedError(f"the file ends at byte {size}, before byte {self._asked_end}")
        self._end = size if self._asked_end is None else self._asked_end

    def _retried(self, operation: Callable[[], None]) -> None:
        def attempt() -> None:
            try:
                operation()
            except Exception:
                self._drop()
                raise

        retried(attempt, f"reading {self._path} from byte {self._received}")

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.body.close()


def _ask(file_system: Any, path: str, begin: int, end: int | None) -> Answer:
    if hasattr(file_system, "receiver"):
        answer: Answer = file_system.receiver.get(path, begin, end)
        return answer
    size = stated_size(file_system, path)
    if size is None:  # a server that does not tell
        data = call(file_system, "cat_file", 0, path)
        return Answer(io.BytesIO(data[begin:]), len(data), len(data))
    last = min(size, begin + BLOCK_BYTES, size if end is None else end)
    data = b""
    if begin < last:
        data = call(file_system, "cat_file", last - begin, path, start=begin, end=last)
    return Answer(io.BytesIO(data), last, size)
