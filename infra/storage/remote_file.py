"""Files on other machines, read while they arrive."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from infra.storage.file_systems import call, retried, stated_size
from infra.storage.transfer import Answer, EndsTooEarlyError, StoreError, TruncatedError
from infra.storage.transfer_pace import Pace

BLOCK_BYTES = 64 << 20
"""What is asked for at once of a file system that gives no bytes before it has all."""
_PIECE_BYTES = 256 << 10
"""What is taken of a stream at once: it stays in the processor's cache until it is used."""
_LINE_BYTES = 8 << 10
_NEAR_BYTES = 1 << 20
"""What is received and thrown away rather than asked around."""
_IDLE_SECONDS = 5.0
"""After a longer pause the rest is asked for anew: servers end what nobody takes from them."""


class RemoteFile(io.BufferedIOBase):
    """A file, or its bytes `begin` to `end`, asked for as a whole where the store can stream.

    Places are those of the file. After a failure the rest is asked for, and what has come is kept;
    a call that fails for good leaves the place where it was. For one thread of one process.

    Raises:
        FileNotFoundError: when it is made.
        EndsTooEarlyError: the file ends before `end`.
        StoreError: what comes goes on failing or trickling, or is of another version of the file.
    """

    def __init__(self, file_system: Any, path: str, begin: int = 0, end: int | None = None) -> None:
        self._file_system, self._path = file_system, path
        self._asked_end = None if end is None else max(begin, end)
        self._position, self._end = begin, self._asked_end or begin
        self._piece, self._begin = b"", begin  # what was received last, and where it begins
        self._answer: Answer | None = None
        self._known: tuple[int, str] | None = None
        self._pace, self._last = Pace(path), 0.0
        if end is None or begin < end:
            self._retried(self._ask)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: a place far from here costs another request."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; returns it, in bytes from the start of the file."""
        self._checkClosed()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError(f"there is no place {offset} from {whence}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        self._checkClosed()
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end; all that are left where it is negative."""
        left = max(self._end - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        with self._at_once():
            first = self.read1(wanted)
            if len(first) == wanted:
                return first
            found = io.BytesIO()
            found.seek(wanted - 1)  # takes the room at once
            found.write(b"\0")
            found.seek(0)
            found.write(first)
            while found.tell() < wanted:
                found.write(self.read1(wanted - found.tell()))
            return found.getvalue()  # no copy

    def read1(self, size: int = -1, /) -> bytes:
        """At most `size` of the next bytes, those that are here or come first; none at the end."""
        found = self._ahead(sys.maxsize if size < 0 else size)
        self._position += len(found)
        return found

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next bytes up to the end of a line, at most `size` where it is not negative."""
        left = sys.maxsize if size is None or size < 0 else size
        pieces: list[bytes] = []
        with self._at_once():
            while left > 0 and (ahead := self._ahead(min(_LINE_BYTES, left))):
                pieces.append(ahead[: ahead.find(b"\n") + 1] or ahead)
                self._position += len(pieces[-1])
                left -= len(pieces[-1])
                if pieces[-1].endswith(b"\n"):
                    break
        return b"".join(pieces)

    def close(self) -> None:
        """Leave what has not come."""
        if not self.closed:
            self._drop()
        super().close()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """All of it, or nothing."""
        place = self._position
        try:
            yield
        except BaseException:
            self._position = place
            raise

    @property
    def _reached(self) -> int:
        """What was received last ends before this byte."""
        return self._begin + len(self._piece)

    def _ahead(self, size: int) -> bytes:
        """At most `size` bytes from here on; none only at the end, or where none are wanted."""
        self._checkClosed()
        wanted = min(size, self._end - self._position)
        if wanted <= 0:
            return b""
        if not self._begin <= self._position < self._reached:
            self._come_here()
        offset = self._position - self._begin
        return self._piece[offset : offset + wanted]

    def _come_here(self) -> None:
        """Receive up to the piece that holds the next byte."""
        far = not 0 <= self._position - self._reached <= _NEAR_BYTES
        if far or self._is_idle():
            self._drop()
        if far:
            self._piece, self._begin = b"", self._position
        while self._reached <= self._position:
            before = self._reached

            def receive(before: int = before) -> None:
                if self._reached != before:
                    return  # what came before a failure is enough
                if self._answer is None or self._reached == self._answer.end:
                    self._ask()
                self._receive()

            self._retried(receive)

    def _is_idle(self) -> bool:
        """Whether a server may have given up on us."""
        waits = self._answer is not None and not self._answer.arrived
        return waits and time.monotonic() - self._last > _IDLE_SECONDS

    def _retried(self, operation: Callable[[], None]) -> None:
        def attempt() -> None:
            try:
                operation()
            except BaseException:  # also an interrupt leaves the answer somewhere
                self._drop()
                raise

        retried(attempt, f"reading {self._path} from byte {self._reached}")

    def _ask(self) -> None:
        """For all that is left."""
        self._drop()
        with self._pace.waiting():
            self._answer = _asked(self._file_system, self._path, self._reached, self._asked_end)
        known = (self._answer.size, self._answer.version)
        if self._known not in (None, known):
            raise StoreError(
                f"{self._path} was replaced while it was read: it had {self._known}, now {known} "
                "(bytes, version). Run again when nobody writes it."
            )
        if self._asked_end is not None and known[0] < self._asked_end:
            raise EndsTooEarlyError(
                f"{self._path} ends at byte {known[0]}, before byte {self._asked_end}"
            )
        self._known = known
        self._end = known[0] if self._asked_end is None else self._asked_end
        self._last = time.monotonic()

    def _receive(self) -> None:
        """The next piece; of one that fails, what has come."""
        answer = self._answer
        assert answer is not None
        left = answer.end - self._reached
        wanted = left if answer.arrived else min(left, _PIECE_BYTES)
        if wanted <= 0:
            raise TruncatedError("nothing came")
        pieces: list[bytes] = []
        try:
            while wanted:
                with self._pace.waiting():
                    data = answer.body.read1(wanted)
                if not data:
                    raise TruncatedError(f"the answer ended {left} bytes too early")
                pieces.append(data)
                left -= len(data)
                wanted -= len(data)
                self._pace.add(len(data))
        finally:
            self._begin, self._piece = self._reached, b"".join(pieces)  # of one, without a copy
            self._last = time.monotonic()

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.body.close()


def read_unsized(file_system: Any, path: str, most: int | None = None) -> bytes:
    """A file of a server that does not tell its size: all of it, or its first `most` bytes."""
    found = io.BytesIO()
    with file_system.open(path, "rb") as stream:
        while (most is None or found.tell() < most) and (piece := stream.read(_PIECE_BYTES)):
            found.write(piece)  # stream.read brings what has arrived, not all that is asked for
    return found.getvalue()[:most]


def _asked(file_system: Any, path: str, begin: int, end: int | None) -> Answer:
    if hasattr(file_system, "receiver"):
        answer: Answer = file_system.receiver.get(path, begin, end)
        return answer
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
