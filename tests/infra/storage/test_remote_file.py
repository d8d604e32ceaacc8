"""Files of other machines are read like local ones, from few requests."""

import io
import math
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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

from infra.storage import file_systems, remote_file
from infra.storage.file_systems import open_file_system
from infra.storage.remote_file import RemoteFile
from infra.storage.source_files import FileTooLargeError, open_url, read_url
from infra.storage.transfer import Answer, EndsTooEarlyError, StoreError

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
    monkeypatch.setattr(remote_file, "_IDLE_SECONDS", math.inf)  # or pauses would cost requests
    monkeypatch.setattr(file_systems, "FIRST_BACKOFF_SECONDS", 0.0)


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
    st.tuples(st.just("readline"), st.integers(-1, 9000)),
)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=30), streams=st.booleans())
def test_any_reading_gives_what_a_file_in_memory_gives(
    steps: list[tuple[str, int]], streams: bool, lines: tuple[Any, str, bytes]
) -> None:
    file_system, path, data = lines
    expected = io.BytesIO(data)
    with RemoteFile(Asked(data) if streams else file_system, path) as stream:
        for name, argument in steps:
            assert getattr(stream, name)(argument) == getattr(expected, name)(argument)
            assert stream.tell() == expected.tell()


@settings(max_examples=40)
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
    asked = Asked(DATA)
    with pytest.raises(EndsTooEarlyError, match=r"a ends at byte 50000, before byte 50010"):
        read_range(asked, 49_990, 50_010)
    assert len(asked.asked) == 1, "another time would not make it longer"


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


class Broken(io.BytesIO):
    """Fails now and then, after it has taken some bytes."""

    def __init__(self, data: bytes, chance: random.Random, closed: list[int]) -> None:
        super().__init__(data)
        self._chance, self._closed = chance, closed

    def read1(self, size: int | None = -1, /) -> bytes:
        luck = self._chance.random()
        data = super().read1(self._chance.randint(1, max(size or 1, 1)))
        if luck < 0.1:
            raise KeyboardInterrupt if luck < 0.03 else ConnectionResetError
        return b"" if luck < 0.15 else data

    def close(self) -> None:
        self._closed.append(id(self))
        super().close()


@settings(max_examples=200)
@given(steps=st.lists(STEPS, max_size=30), seed=st.integers(0, 1 << 30))
def test_whatever_fails_no_byte_is_wrong_lost_or_read_twice(
    steps: list[tuple[str, int]], seed: int
) -> None:
    data, chance = DATA.replace(b"\0", b"\n"), random.Random(seed)
    asked, expected = Asked(data), io.BytesIO(data)
    bodies: list[Broken] = []
    closed: list[int] = []
    plain = asked.get

    def get(path: str, begin: int, end: int | None) -> Answer:
        if chance.random() < 0.1:
            raise ConnectionRefusedError
        answer = plain(path, begin, end)
        bodies.append(Broken(answer.body.read1(1 << 20), chance, closed))
        return replace(answer, body=bodies[-1])

    asked.get = get  # type: ignore[assignment, method-assign]
    try:
        stream = RemoteFile(asked, "a")
    except StoreError:
        return
    with stream:
        for name, argument in steps:
            try:
                got = getattr(stream, name)(argument)
            except (StoreError, KeyboardInterrupt):
                pass
            else:
                assert got == getattr(expected, name)(argument)
            assert stream.tell() == expected.tell()
    assert sorted(closed) == sorted(map(id, bodies))


def test_a_file_that_is_replaced_while_it_is_read_is_an_error_and_no_mixture() -> None:
    asked = Asked(DATA)
    with RemoteFile(asked, "a") as stream:
        assert stream.read(500) == DATA[:500]
        asked.data, asked.version = DATA[::-1], "2"
        stream.seek(40_000)
        with pytest.raises(StoreError, match="a was replaced while it was read"):
            stream.read(1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def slowed(asked: Asked, clock: list[float], num_bytes: int, fails: bool) -> Asked:
    """A second for so many bytes, after which an answer may fail."""

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            clock[0] += 1.0
            if fails and self.tell():
                raise ConnectionResetError
            return super().read1(min(size or 0, num_bytes))

    plain = asked.get
    asked.get = lambda *asked_range: replace(  # type: ignore[method-assign]
        answer := plain(*asked_range), body=Slow(answer.body.read1(1 << 30))
    )
    return asked


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_that_trickles_is_asked_for_again_and_at_last_given_up(
    fails: bool, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    asked = slowed(Asked(DATA), clock, 100, fails)
    with RemoteFile(asked, "a") as stream, pytest.raises(StoreError, match=r"too slow 6 times"):
        stream.read()
    assert 150 < clock[0] < 250
    lines_logged = [record.getMessage() for record in caplog.records]
    assert any("bytes came in 31 s" in line for line in lines_logged)


@pytest.mark.parametrize(("rate", "is_given_up"), [(70_000, False), (50_000, True)])
def test_64_kib_a_second_is_fast_enough(
    rate: int, is_given_up: bool, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "_PIECE_BYTES", 1 << 18)
    asked = slowed(Asked(bytes(100 << 20)), clock, rate, False)
    with RemoteFile(asked, "a") as stream:
        if not is_given_up:
            assert len(stream.read()) == 100 << 20
            assert len(asked.asked) == 1
        else:
            with pytest.raises(StoreError, match="too slow 6 times"):
                stream.read()


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
        for position in (0, 6000, 100, 6999):
            stream.seek(position)
            assert stream.read(1) == data[position : position + 1]
    assert asked == [0]


@pytest.mark.parametrize(("begin", "end"), [(5, 5), (50_000, None), (60_000, None), (10, 5)])
def test_where_nothing_is_nothing_is_read(
    begin: int, end: int | None, lines: tuple[Any, str, bytes]
) -> None:
    file_system, path, _ = lines
    for some in (file_system, Asked(DATA)):
        with RemoteFile(some, path, begin, end) as stream:
            assert stream.read() == stream.readline() == b""
            stream.seek(0)
            expected = DATA[: 50_000 if end is None else max(begin, end)]
            assert len(stream.read()) == len(expected)


def test_a_closed_file_is_not_read_and_no_place_is_negative() -> None:
    stream = RemoteFile(Asked(DATA), "a")
    for position in ((-1, io.SEEK_SET), (-60_000, io.SEEK_END), (0, 7)):
        with pytest.raises(ValueError, match="there is no position"):
            stream.seek(*position)
    stream.close()
    for call in (stream.read, stream.readline, stream.tell):
        with pytest.raises(ValueError, match="closed"):
            call()


class _NoRanges(SimpleHTTPRequestHandler):
    """Python's own, which answers with the whole file whatever was asked."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/a"
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_knows_no_ranges_gives_the_right_bytes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with serving(partial(_NoRanges, directory=str(tmp_path))) as url:
        assert read_url(url, 1 << 20, 1000, 500) == DATA[1000:1500]
        with open_url(url) as stream:
            assert stream.read() == DATA


def test_an_http_server_is_asked_once_for_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", len(DATA))
    (tmp_path / "a").write_bytes(DATA)
    methods: list[str] = []

    class Counting(_NoRanges):
        def do_HEAD(self) -> None:
            methods.append(self.command)
            super().do_HEAD()

        def do_GET(self) -> None:
            methods.append(self.command)
            super().do_GET()

    with serving(partial(Counting, directory=str(tmp_path))) as url:
        assert read_url(url, 1 << 20) == DATA
    assert methods == ["HEAD", "GET"]


class _Chunked(_NoRanges):
    """Does not give the size of the file and sends it little by little."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        for position in range(0, len(DATA), 8000):
            piece = DATA[position : position + 8000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0.005)
        self.wfile.write(b"0\r\n\r\n")


def test_a_server_that_does_not_tell_the_size_gives_all_the_same(tmp_path: Path) -> None:
    with serving(partial(_Chunked, directory=str(tmp_path))) as url:
        assert read_url(url, 1 << 20) == DATA
        assert read_url(url, 1 << 20, 1000, 500) == DATA[1000:1500]
        with open_url(url) as stream:
            assert stream.read() == DATA
        with pytest.raises(FileTooLargeError):
            read_url(url, 10_000)
