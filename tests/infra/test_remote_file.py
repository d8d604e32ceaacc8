"""Files of other machines are read like local ones, from few requests."""

import io
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import remote, remote_file
from infra.remote import StoreError, open_file_system
from infra.remote_file import RemoteFile, read_range
from infra.s3 import Answer, TruncatedError

DATA = np.random.default_rng(3).bytes(50_000)


class Asked:
    """A file system that streams, and what was asked of it."""

    def __init__(self, data: bytes) -> None:
        self.receiver = self
        self.asked: list[tuple[int, int | None]] = []
        self.cuts: list[int] = []
        """Bytes after which answers end too early, one answer after the other."""
        self._data = data

    def get(self, _: str, begin: int, end: int | None) -> Answer:
        self.asked.append((begin, end))
        last = len(self._data) if end is None else min(end, len(self._data))
        cut = self.cuts.pop(0) if self.cuts else last - begin
        return Answer(io.BytesIO(self._data[begin:last][:cut]), last, len(self._data))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(remote_file, "_NEAR_BYTES", 3000)
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", 7000)
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def lines() -> Iterator[tuple[Any, str, bytes]]:
    file_system, path = open_file_system(f"memory://{uuid.uuid4().hex}")
    data = DATA.replace(b"\0", b"\n")
    file_system.pipe_file(path, data)
    yield file_system, path, data
    file_system.rm(path)


STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 9000)),
    st.tuples(st.just("seek"), st.integers(0, 55_000)),
    st.tuples(st.just("readline"), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=30), streams=st.booleans())
def test_any_reading_gives_what_a_file_in_memory_gives(
    steps: list[tuple[str, int]], streams: bool, lines: tuple[Any, str, bytes]
) -> None:
    file_system, path, data = lines
    expected = io.BytesIO(data)
    with RemoteFile(Asked(data) if streams else file_system, path) as found:
        for name, argument in steps:
            if name == "readline":
                assert found.readline() == expected.readline()
            else:
                assert getattr(found, name)(argument) == getattr(expected, name)(argument)
            assert found.tell() == expected.tell()


@settings(max_examples=40, deadline=None)
@given(begin=st.integers(0, 50_000), size=st.integers(0, 50_000))
def test_a_range_is_read_whole_and_alone(begin: int, size: int) -> None:
    size = min(size, len(DATA) - begin)
    asked = Asked(DATA)
    assert read_range(asked, "a", begin, begin + size) == DATA[begin:][:size]
    assert asked.asked == [(begin, begin + size)] * (size > 0)


def test_one_answer_serves_reading_on_and_a_far_place_costs_another() -> None:
    asked = Asked(DATA)
    with RemoteFile(asked, "a") as stream:
        assert stream.read(10) == DATA[:10]
        stream.seek(2500)
        assert stream.read(10) == DATA[2500:2510]
        stream.seek(2005)
        assert stream.read(10) == DATA[2005:2015], "it is in the piece"
        assert asked.asked == [(0, None)]
        stream.seek(40_000)
        assert stream.read() == DATA[40_000:]
        stream.seek(100)
        assert stream.read(5) == DATA[100:105]
    assert asked.asked == [(0, None), (40_000, None), (100, None)]


def test_after_a_failure_the_rest_is_asked_for_and_what_has_come_is_kept() -> None:
    asked = Asked(DATA)
    asked.cuts = [12_345, 0, 20_100]
    with RemoteFile(asked, "a") as stream:
        assert stream.read() == DATA
    assert [begin for begin, _ in asked.asked] == [0, 12_000, 12_000, 32_000]


def test_what_fails_on_and_on_ends_in_an_error_with_its_place() -> None:
    asked = Asked(DATA)
    asked.cuts = [5500, *[0] * 100]
    with (
        RemoteFile(asked, "far/a") as stream,
        pytest.raises(StoreError, match=r"far/a from byte 5000 failed 6 times.*0 of 1000 bytes"),
    ):
        stream.read()


def test_a_file_that_ends_before_the_range_is_an_error_and_no_shorter_range() -> None:
    with pytest.raises(StoreError, match=r"ends at byte 50000, before byte 50010") as caught:
        read_range(Asked(DATA), "a", 49_990, 50_010)
    assert isinstance(caught.value.__cause__, TruncatedError)


def test_a_reader_that_was_busy_asks_again_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked(DATA)
    with RemoteFile(asked, "a") as stream:
        assert stream.read(1500) == DATA[:1500]
        monkeypatch.setattr(remote_file, "_IDLE_SECONDS", -1.0)
        assert stream.read(1000) == DATA[1500:2500]
    assert [begin for begin, _ in asked.asked] == [0, 2000]
    assert caplog.records == []
