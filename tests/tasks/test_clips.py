"""Clips of a corpus on a real S3 server: each costs a request of its own bytes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import noise
from seaweed import BUCKET, KEYS, seaweed

from data_contracts.records import Clip
from infra import remote
from infra.store import Store
from tasks.clips import ClipReader, DamagedClipError
from tasks.corpus_index import CorpusIndex
from tasks.shards import MadeClip, write_index, write_shard


def test_clips_on_s3_are_read_by_range_from_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    asked: list[tuple[int, int]] = []

    def counted(file_system: Any, path: str, start: int, end: int) -> bytes:
        asked.append((start, end))
        return plain(file_system, path, start, end)

    plain = remote.read_range
    with seaweed(tmp_path / "weed") as endpoint:
        store = Store(f"s3://{BUCKET}/corpus", {"endpoint_url": endpoint})
        clips = (
            MadeClip(Clip(id=f"{i}", audio="-", targets={}), noise(0.4, i), 0.0, ())
            for i in range(12)
        )
        rows = write_shard(store, 0, clips)
        write_index(store, rows)
        reader = ClipReader(store, CorpusIndex(store))
        monkeypatch.setattr("infra.store.read_range", counted)
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
