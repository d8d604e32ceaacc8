"""Files of other machines are read like local ones, from few requests."""

import io
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import remote, remote_file
from infra.remote import open_file_system
from infra.remote_file import RemoteFile
from infra.source_files import open_url, read_url
from infra.transfer import Answer, StoreError, TruncatedError

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
    with RemoteFile(file_system, "a", begin, end) as stream:
        return stream.read()


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
    st.tuples(st.sampled_from(["readline", "peek"]), st.just(0)),
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
            elif name == "peek":
                ahead = found.peek()
                assert data[expected.tell() :].startswith(ahead)
                assert bool(ahead) == (expected.tell() < len(data))
            else:
                assert getattr(found, name)(argument) == getattr(expected, name)(argument)
            assert found.tell() == expected.tell()


@settings(max_examples=40, deadline=None)
@given(begin=st.integers(0, 50_000), size=st.integers(0, 50_000))
def test_a_range_is_read_whole_and_alone(begin: int, size: int) -> None:
    size = min(size, len(DATA) - begin)
    asked = Asked(DATA)
    assert read_range(asked, begin, begin + size) == DATA[begin:][:size]
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
    assert [begin for begin, _ in asked.asked] == [0, 12_345, 12_345, 32_445]


def test_what_fails_on_and_on_ends_in_an_error_with_its_place() -> None:
    asked = Asked(DATA)
    asked.cuts = [5500, *[0] * 100]
    with (
        RemoteFile(asked, "far/a") as stream,
        pytest.raises(StoreError, match=r"far/a from byte 5500 failed 6 times.* 44500 bytes too"),
    ):
        stream.read()


def test_a_file_that_ends_before_the_range_is_an_error_and_no_shorter_range() -> None:
    with pytest.raises(StoreError, match=r"ends at byte 50000, before byte 50010") as caught:
        read_range(Asked(DATA), 49_990, 50_010)
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


def test_after_a_seek_that_failed_the_next_one_finds_its_place() -> None:
    asked = Asked(DATA)
    with RemoteFile(asked, "a") as stream:
        assert stream.read(500) == DATA[:500]
        asked.cuts = [0] * 6
        stream.seek(30_000)
        with pytest.raises(StoreError):
            stream.read(1)
        stream.seek(29_500)
        assert stream.read(10) == DATA[29_500:29_510]


def test_an_interrupt_loses_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.BytesIO.read1

    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            plain(self, size)
            raise KeyboardInterrupt

    asked = Asked(DATA)
    with RemoteFile(asked, "a") as stream:
        assert stream.read(1000) == DATA[:1000]
        assert stream._answer is not None
        object.__setattr__(stream._answer, "body", Interrupted(DATA[1000:]))
        with pytest.raises(KeyboardInterrupt):
            stream.read(1)
        assert stream.read(10) == DATA[1000:1010]


def test_a_file_that_is_replaced_while_it_is_read_is_an_error_and_no_mixture() -> None:
    asked = Asked(DATA)
    with RemoteFile(asked, "a") as stream:
        assert stream.read(500) == DATA[:500]
        asked.data, asked.version = DATA[::-1], "2"
        stream.seek(40_000)
        with pytest.raises(StoreError, match="a was replaced while it was read"):
            stream.read(1)


def test_a_slow_answer_is_asked_for_again_and_one_that_stays_slow_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            clock[0] += 1.0
            return super().read1(min(size or 0, 100))

    asked = Asked(DATA)
    plain = asked.get
    monkeypatch.setattr(
        asked, "get",
        lambda *place: replace(found := plain(*place), body=Slow(found.body.read1(1 << 20))),
    )  # fmt: skip
    with RemoteFile(asked, "a") as stream, pytest.raises(StoreError, match=r"too slow 6 times"):
        stream.read()
    assert 150 < clock[0] < 250
    assert "3100 bytes came in 31 s" in caplog.records[0].getMessage()


def test_a_block_that_is_here_is_not_asked_for_again(
    lines: tuple[Any, str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    file_system, path, data = lines
    asked: list[int] = []
    plain = file_system.cat_file

    def counted(name: str, start: int, end: int) -> Any:
        asked.append(start)
        return plain(name, start=start, end=end)

    monkeypatch.setattr(file_system, "cat_file", counted)
    monkeypatch.setattr(remote_file, "_IDLE_SECONDS", -1.0)
    with RemoteFile(file_system, path) as stream:
        for place in (0, 6000, 100, 6999):
            stream.seek(place)
            assert stream.read(1) == data[place : place + 1]
    assert asked == [0]


@pytest.mark.parametrize(("begin", "end"), [(5, 5), (50_000, None), (60_000, None), (10, 5)])
def test_where_nothing_is_nothing_is_read(
    begin: int, end: int | None, lines: tuple[Any, str, bytes]
) -> None:
    file_system, path, _ = lines
    for some in (file_system, Asked(DATA)):
        with RemoteFile(some, path, begin, end) as stream:
            assert stream.read() == stream.peek() == stream.readline() == b""


def test_a_closed_file_is_not_read_and_no_place_is_negative() -> None:
    stream = RemoteFile(Asked(DATA), "a")
    for place in ((-1, io.SEEK_SET), (-60_000, io.SEEK_END), (0, 7)):
        with pytest.raises(ValueError, match="there is no place"):
            stream.seek(*place)
    stream.close()
    for call in (stream.read, stream.peek, stream.readline, stream.tell):
        with pytest.raises(ValueError, match="closed"):
            call()


class _NoRanges(SimpleHTTPRequestHandler):
    """Python's own, which answers with the whole file whatever was asked."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_server_that_knows_no_ranges_gives_the_right_bytes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_NoRanges, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/a"
        assert read_url(url, 1 << 20, 1000, 500) == DATA[1000:1500]
        with open_url(url) as stream:
            assert stream.read() == DATA
    finally:
        server.shutdown()
        server.server_close()
