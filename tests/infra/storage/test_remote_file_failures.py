"""Answers of other machines that fail, end early or trickle give the right bytes or an error."""

import io
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import remote_file
from infra.storage.remote_file import RemoteFile
from infra.storage.transfer import Answer, EndsTooEarlyError, StoreError
from tests.support.remote_files import DATA, STEPS, Asked, read_range

pytestmark = pytest.mark.usefixtures("small_blocks")


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
