"""Reading of files on other machines while their bytes arrive."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from infra.storage.file_systems import call, retried, stated_size
from infra.storage.min_throughput import MinThroughput
from infra.storage.transfer import Answer, EndsTooEarlyError, StoreError, TruncatedError

BLOCK_BYTES = 64 << 20
"""Bytes of one request to a file system that gives none before it has all."""
_PIECE_BYTES = 256 << 10
"""Bytes that are taken of a stream at once: they stay in the processor's cache until used."""
_LINE_BYTES = 8 << 10
_NEAR_BYTES = 1 << 20
"""Bytes to skip that are rather received and thrown away than left out by another request."""
_IDLE_SECONDS = 5.0
"""After a longer pause the rest is asked for anew: servers end answers that nobody reads."""


class RemoteFile(io.BufferedIOBase):
    """A file, or its bytes `begin` to `end`, asked for as a whole where the store can stream.

    Positions are those of the file. After a failure the rest is asked for, and what has come is
    kept; a call that fails for good does not move the position. For one thread of one process.

    Raises:
        FileNotFoundError: the file does not exist; raised at once.
        EndsTooEarlyError: the file ends before `end`.
        StoreError: answers fail or trickle in every attempt, or are of another version of the file.
    """

    def __init__(
        self,
        file_system: Any,
        path: str,
        begin: int = 0,
        end: int | None = None,
        size: int | None = None,
    ) -> None:
        """`size`: bytes of the whole file, where the caller has just asked for it."""
        self._file_system, self._path = file_system, path
        self._fresh_size = size
        self._asked_end = None if end is None else max(begin, end)
        self._position, self._end = begin, self._asked_end or begin
        self._piece, self._begin = b"", begin  # received last, and where it begins
        self._answer: Answer | None = None
        self._version: tuple[int, str] | None = None
        self._throughput, self._last = MinThroughput(path), 0.0
        if end is None or begin < end:
            self._retried(self._ask)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True; a position far from the last one costs another request."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; return it, in bytes from the start of the file."""
        self._checkClosed()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError(f"there is no position {offset} from {whence}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position, where the next read begins."""
        self._checkClosed()
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next `size` bytes, fewer only at the end; all that are left where negative."""
        left = max(self._end - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        with self._all_or_nothing():
            first = self.read1(wanted)
            if len(first) == wanted:
                return first
            result = io.BytesIO()
            result.seek(wanted - 1)  # allocates all at once
            result.write(b"\0")
            result.seek(0)
            result.write(first)
            while result.tell() < wanted:
                result.write(self.read1(wanted - result.tell()))
            return result.getvalue()  # no copy

    def read1(self, size: int = -1, /) -> bytes:
        """Read at most `size` of the next bytes: those that are here or come first."""
        data = self._peek(sys.maxsize if size < 0 else size)
        self._position += len(data)
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read up to the end of a line, at most `size` bytes where it is not negative."""
        left = sys.maxsize if size is None or size < 0 else size
        pieces: list[bytes] = []
        with self._all_or_nothing():
            while left > 0 and (data := self._peek(min(_LINE_BYTES, left))):
                pieces.append(data[: data.find(b"\n") + 1] or data)
                self._position += len(pieces[-1])
                left -= len(pieces[-1])
                if pieces[-1].endswith(b"\n"):
                    break
        return b"".join(pieces)

    def close(self) -> None:
        """Leave the rest of the answer."""
        if not self.closed:
            self._drop()
        super().close()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Leave the position where it was if the context fails."""
        position = self._position
        try:
            yield
        except BaseException:
            self._position = position
            raise

    @property
    def _reached(self) -> int:
        """Byte before which the last piece ends."""
        return self._begin + len(self._piece)

    def _peek(self, size: int) -> bytes:
        """Return at most `size` of the next bytes; none only at the end or where `size` is 0."""
        self._checkClosed()
        wanted = min(size, self._end - self._position)
        if wanted <= 0:
            return b""
        if not self._begin <= self._position < self._reached:
            self._receive_position()
        offset = self._position - self._begin
        return self._piece[offset : offset + wanted]

    def _receive_position(self) -> None:
        """Receive up to the piece with the next byte."""
        far = not 0 <= self._position - self._reached <= _NEAR_BYTES
        if far or self._is_idle():
            self._drop()
        if far:
            self._piece, self._begin = b"", self._position
        while self._reached <= self._position:
            before = self._reached

            def receive(before: int = before) -> None:
                if self._reached != before:
                    return  # what came before a failure suffices
                if self._answer is None or self._reached == self._answer.end:
                    self._ask()
                self._receive()

            self._retried(receive)

    def _is_idle(self) -> bool:
        """Return whether the server may have ended the answer, since nobody read it for long."""
        is_open = self._answer is not None and not self._answer.arrived
        return is_open and time.monotonic() - self._last > _IDLE_SECONDS

    def _retried(self, operation: Callable[[], None]) -> None:
        def attempt() -> None:
            try:
                operation()
            except BaseException:  # also an interrupt leaves the answer somewhere
                self._drop()
                raise

        retried(self._file_system, attempt, f"reading {self._path} from byte {self._reached}")

    def _ask(self) -> None:
        """Ask for all that is left."""
        self._drop()
        size, self._fresh_size = self._fresh_size, None
        with self._throughput.waiting():
            self._answer = _ask(self._file_system, self._path, self._reached, self._asked_end, size)
        version = (self._answer.size, self._answer.version)
        if self._version not in (None, version):
            raise StoreError(
                f"{self._path} was replaced while it was read: it had {self._version}, now "
                f"{version} (bytes, version). Run again when nobody writes it."
            )
        if self._asked_end is not None and version[0] < self._asked_end:
            raise EndsTooEarlyError(
                f"{self._path} ends at byte {version[0]}, before byte {self._asked_end}"
            )
        self._version = version
        self._end = version[0] if self._asked_end is None else self._asked_end
        self._last = time.monotonic()

    def _receive(self) -> None:
        """Receive the next piece; of one that fails, what has come."""
        answer = self._answer
        assert answer is not None
        left = answer.end - self._reached
        wanted = left if answer.arrived else min(left, _PIECE_BYTES)
        if wanted <= 0:
            raise TruncatedError("nothing came")
        pieces: list[bytes] = []
        try:
            while wanted:
                with self._throughput.waiting():
                    data = answer.body.read1(wanted)
                if not data:
                    raise TruncatedError(f"the answer ended {left} bytes too early")
                pieces.append(data)
                left -= len(data)
                wanted -= len(data)
                self._throughput.add(len(data))
        finally:
            # A single piece is not copied.
            self._begin, self._piece = self._reached, b"".join(pieces)
            self._last = time.monotonic()

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.body.close()


def read_unsized(file_system: Any, path: str, most: int | None = None) -> bytes:
    """Read a file of a server that does not give its size, or its first `most` bytes."""
    data = io.BytesIO()
    with file_system.open(path, "rb") as stream:
        while (most is None or data.tell() < most) and (piece := stream.read(_PIECE_BYTES)):
            data.write(piece)  # stream.read brings what has arrived, not all that is asked for
    return data.getvalue()[:most]


def _ask(file_system: Any, path: str, begin: int, end: int | None, size: int | None) -> Answer:
    """Ask for bytes `begin` to `end`; `size`: of the whole file, where it is known."""
    if hasattr(file_system, "receiver"):
        answer: Answer = file_system.receiver.get(path, begin, end)
        return answer
    if size is None:
        size = stated_size(file_system, path)
    if size is None:
        data = read_unsized(file_system, path)
        size = len(data)
        last = max(begin, size)
    else:
        last = max(begin, min(size, begin + BLOCK_BYTES, size if end is None else end))
        data = b""
        if begin < last:
            data = call(file_system, "cat_file", last - begin, path, start=begin, end=last)
    if len(data) == size:  # a server that knows no ranges sends all
        data = data[begin:last]
    if len(data) != last - begin and begin < size:
        raise TruncatedError(f"{len(data)} of {last - begin} bytes came")
    return Answer(io.BytesIO(data), begin + len(data), size, arrived=True)
