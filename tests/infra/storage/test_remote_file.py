"""Files of other machines are read like local ones, from few requests."""

import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import remote_file
from infra.storage.file_systems import open_file_system
from infra.storage.remote_file import RemoteFile
from tests.support.remote_files import DATA, STEPS, Asked, read_range

pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture(scope="module")
def lines() -> Iterator[tuple[Any, str, bytes]]:
    file_system, path = open_file_system(f"memory://{uuid.uuid4().hex}")
    data = DATA.replace(b"\0", b"\n")
    file_system.pipe_file(path, data)
    yield file_system, path, data
    file_system.rm(path)


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
