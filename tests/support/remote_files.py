"""A file system that streams, and steps of reading a file of it."""

import io
from typing import Any

import numpy as np
from hypothesis import strategies as st

from infra.storage.remote_file import RemoteFile
from infra.storage.transfer import Answer

DATA = np.random.default_rng(3).bytes(50_000)


class Asked:
    """A file system that streams, and what was asked of it."""

    def __init__(self, data: bytes) -> None:
        self.receiver = self
        self.asked: list[tuple[int, int | None]] = []
        self.cuts: list[int] = []
        """Bytes after which answers end too early, one answer after the other."""
        self.data = data
        self.version = "1"

    def get(self, _: str, begin: int, end: int | None) -> Answer:
        self.asked.append((begin, end))
        last = len(self.data) if end is None else min(end, len(self.data))
        cut = self.cuts.pop(0) if self.cuts else last - begin
        body = io.BytesIO(self.data[begin:last][:cut])
        return Answer(body, last, len(self.data), self.version)


def read_range(file_system: Any, begin: int, end: int) -> bytes:
    """Bytes `begin` to `end` of the file `a`."""
    with RemoteFile(file_system, "a", begin, end) as stream:
        return stream.read()


STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 9000)),
    st.tuples(st.just("seek"), st.integers(0, 55_000)),
    st.tuples(st.just("readline"), st.integers(-1, 9000)),
)
"""A method of a file of 50 kB, and its argument."""
