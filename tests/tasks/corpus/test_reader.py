"""Clips of a corpus on a real S3 server: each costs a request of its own bytes."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from benchmarks.seaweed import BUCKET, KEYS, seaweed
from data_contracts.records import Clip, PackedClip
from infra.storage.s3 import S3Receiver
from infra.storage.store import Store
from infra.storage.transfer import Answer, EndsTooEarlyError
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader, DamagedClipError
from tasks.corpus.shards import MadeClip, write_index, write_shard
from tests.support.recordings import noise


def test_clips_on_s3_are_read_by_range_from_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("infra.storage.remote_file._IDLE_SECONDS", math.inf)
    asked: list[tuple[int, int | None]] = []

    def counted(self: S3Receiver, path: str, begin: int, end: int | None) -> Answer:
        asked.append((begin, end))
        return plain(self, path, begin, end)

    plain = S3Receiver.get
    with seaweed(tmp_path / "weed") as endpoint:
        store = Store(f"s3://{BUCKET}/corpus", {"endpoint_url": endpoint})
        clips = (
            MadeClip(Clip(id=f"{i}", audio="-", targets={}), noise(0.4, i), 0.0, ())
            for i in range(12)
        )
        rows = write_shard(store, 0, clips)
        write_index(store, rows)
        reader = ClipReader(store, CorpusIndex(store))
        monkeypatch.setattr(S3Receiver, "get", counted)
        with ThreadPoolExecutor(4) as threads:
            heard = list(threads.map(reader.__getitem__, ["7", "0", "11", "3"]))
        assert sorted(asked) == [
            (rows[i].offset, rows[i].offset + rows[i].size) for i in (0, 3, 7, 11)
        ]
        for number, waveform in zip((7, 0, 11, 3), heard, strict=True):
            assert np.abs(waveform - noise(0.4, number)).max() < 1 / 32768

        whole = bytearray(store.read_bytes(rows[5].shard))
        whole[rows[5].offset + 20] ^= 1
        store.write_bytes(rows[5].shard, bytes(whole))
        assert reader["4"].shape == (6400,)
        with pytest.raises(DamagedClipError, match=r"clip '5' in .*shard-00000.tar at byte"):
            reader["5"]


def test_clips_that_are_fetched_together_share_the_requests_of_their_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    rows = [row for shard in range(2) for row in packed_noise(store, shard, 10)]
    reads: list[tuple[str, int, int]] = []
    plain = Store.open

    def counted(self: Store, key: str, begin: int, end: int) -> BinaryIO:
        reads.append((key, begin, end))
        return plain(self, key, begin, end)

    monkeypatch.setattr(Store, "open", counted)
    reader = ClipReader(store, rows)
    asked = [rows[i].id for i in (5, 12, 2, 4, 17)]
    reader.fetch(asked)
    ends = [(rows[2], rows[5]), (rows[12], rows[17])]
    assert reads == [(a.shard, a.offset, b.offset + b.size) for a, b in ends]
    assert [len(reader[name]) for name in asked] == [6400] * 5
    reader.fetch(asked)
    assert len(reads) == 2, "what is kept was read again"


@pytest.mark.parametrize("limit", ["MAX_GAP_BYTES", "MAX_RUN_BYTES"])
def test_a_fetch_reads_no_wide_gap_and_no_more_than_the_most_at_once(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    rows = packed_noise(store, 0, 8)
    monkeypatch.setattr("tasks.corpus.reader." + limit, 3 * rows[0].size)
    reads: list[int] = []
    plain = Store.open

    def counted(self: Store, key: str, begin: int, end: int) -> BinaryIO:
        reads.append(end - begin)
        return plain(self, key, begin, end)

    monkeypatch.setattr(Store, "open", counted)
    reader = ClipReader(store, rows)
    near, apart = [0, 1], 6
    reader.fetch([rows[i].id for i in (*near, apart)])
    assert reads == [rows[1].offset + rows[1].size - rows[0].offset, rows[apart].size]


def test_a_damaged_clip_that_was_fetched_raises_when_it_is_asked_for(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    rows = packed_noise(store, 0, 3)
    whole = bytearray(store.read_bytes(rows[1].shard))
    whole[rows[1].offset + 20] ^= 1
    store.write_bytes(rows[1].shard, bytes(whole))
    reader = ClipReader(store, rows)
    reader.fetch([row.id for row in rows])
    assert reader[rows[0].id].shape == reader[rows[2].id].shape == (6400,)
    with pytest.raises(DamagedClipError, match=rf"clip '{rows[1].id}' in "):
        reader[rows[1].id]


def test_a_shard_that_a_remote_store_cut_short_damages_its_last_clips_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    rows = packed_noise(store, 0, 3)
    plain, size = Store.open, rows[2].offset + 10

    def cut(self: Store, key: str, begin: int, end: int) -> BinaryIO:
        if end > size:
            raise EndsTooEarlyError("too few bytes")
        return plain(self, key, begin, end)

    monkeypatch.setattr(Store, "open", cut)
    reader = ClipReader(store, rows)
    reader.fetch([row.id for row in rows])
    assert reader[rows[0].id].shape == reader[rows[1].id].shape == (6400,)
    with pytest.raises(DamagedClipError, match=rf"clip '{rows[2].id}' in "):
        reader[rows[2].id]


def packed_noise(store: Store, shard: int, count: int) -> list[PackedClip]:
    """A shard of clips of 0.4 s."""
    return write_shard(
        store,
        shard,
        (
            MadeClip(Clip(id=f"{shard}/{i}", audio="-", targets={}), noise(0.4, i), 0.0, ())
            for i in range(count)
        ),
    )
