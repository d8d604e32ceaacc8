"""Rows of the store: shards written, and streamed from an S3 server.

The server is another process, which CPU time of this one would not show: here both sides are judged
by wall time, in rounds that alternate.
"""

import http.client
import os
import random
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import boto3
import numpy as np
import psutil
import webdataset

from benchmarks.harness import Condition, Race, Row, Work, cpu_seconds, race
from benchmarks.seaweed import BUCKET, KEYS, seaweed
from data_contracts.digest import digest_of_bytes
from data_contracts.records import PackedClip
from infra.storage.store import Store
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import EncodedClip, find_shard, shard_key, write_encoded

_CLIPS = 400
_CLIP_BYTES = 100_000
"""About six seconds of speech as FLAC."""
_SHARDS = 4
_ROUNDS = 7
_CLIPS_AT_ONCE = 160
"""A micro-batch of 32,768 tokens."""
_PIECE = 1 << 20
_MB = 1e6
_GOAL = 0.8
"""Of the raw rate."""


def write() -> Iterator[Row]:
    """Clips that are encoded already to a shard with its sidecar, flushed to the disk."""
    clips = _encoded()
    with TemporaryDirectory() as folder:
        store = Store(folder)

        def ours() -> None:
            write_encoded(store, 0, clips)

        def reference() -> None:
            with webdataset.TarWriter(f"{folder}/reference.tar") as tar:
                for number, clip in enumerate(clips):
                    key = f"00000{number:05d}"
                    tar.write({"__key__": key, "flac": clip.audio, "json": clip.labels})

        result = race(ours, reference, seconds=5.0)
        seconds = min(_seconds(ours) for _ in range(2 * _ROUNDS))  # others use the disk too
        both = (store.path(shard_key(0)), f"{folder}/reference.tar")
        mine, theirs = (_members(path) for path in both)
        yield Row(
            name="write a shard",
            work=f"{_CLIPS} clips of {_CLIP_BYTES // 1000} kB; ours with digests and fsync",
            race=result,
            goal=None,
            stretch=None,
            conditions=(
                Condition(
                    "MB/s of CPU time", store.size(shard_key(0)) / _MB / result.ours, ">=", 500
                ),
                Condition(
                    "MB/s of wall time at best", store.size(shard_key(0)) / _MB / seconds, ">=", 500
                ),
                Condition("other members than webdataset's", float(mine != theirs), "<=", 0),
                Condition("damaged shards", float(find_shard(store, 0) is None), "<=", 0),
            ),
        )


def stream() -> Iterator[Row]:
    """Shards from SeaweedFS, against plain GET requests on one connection."""
    os.environ.update(KEYS)
    with TemporaryDirectory() as folder, seaweed(Path(folder) / "weed") as endpoint:
        store = Store(f"s3://{BUCKET}/corpus", {"endpoint_url": endpoint})
        rows = [
            row for shard in range(_SHARDS) for row in write_encoded(store, shard, _encoded(shard))
        ]
        raw = _Raw(endpoint, [shard_key(shard) for shard in range(_SHARDS)])
        whole = {key: raw.get(key) for key in raw.keys}
        shards = f"{_SHARDS} shards of {len(whole[shard_key(0)]) / _MB:.0f} MB"

        def get_shards() -> None:
            for key in raw.keys:
                raw.get(key)

        def read_shards() -> None:
            for key in raw.keys:
                store.read_bytes(key)

        def read_in_pieces() -> None:
            for key in raw.keys:
                with store.open(key) as stream:
                    while stream.read(_PIECE):
                        pass

        other = sum(store.read_bytes(key) != data for key, data in whole.items())
        yield _row("S3, shards at once", shards, read_shards, get_shards, other)
        other = sum(store.digest(key) != digest_of_bytes(data) for key, data in whole.items())
        yield _row("S3, shards in pieces of 1 MiB", shards, read_in_pieces, get_shards, other)

        shuffled = random.Random(0).sample(rows, len(rows) // 4)
        connections = [raw, _Raw(endpoint, raw.keys)]

        def get_together(places: Sequence[tuple[Any, ...]]) -> None:
            shares = [places[i :: len(connections)] for i in range(len(connections))]
            with ThreadPoolExecutor(len(connections)) as threads:
                list(threads.map(_Raw.get_each, connections, shares))

        for name, what, some, places, goal in (
            ("S3, clips in the shards' order", shards, rows, [(key,) for key in raw.keys], _GOAL),
            (
                "S3, clips in any order",
                f"{len(shuffled)} clips, a request each on both sides",
                shuffled,
                [(row.shard, row.offset, row.size) for row in shuffled],
                None,  # it is no streaming
            ),
        ):
            read = partial(_read_clips, store, some, len(connections))
            heard = read()
            other = sum(whole[r.shard][r.offset :][: r.size] != heard[r.id] for r in some)
            hashing = _seconds(partial(_digests, heard))
            get = partial(get_together, places)
            here, there = _cpu_seconds(get)
            what = (
                f"{what}, {len(connections)} threads; CPU of bare GETs {here * 1e3:.0f} ms here, "
                f"{there * 1e3:.0f} ms at the server; sha256 alone {hashing * 1e3:.0f} ms"
            )
            yield _row(name, what, read, get, other, goal)


class _Raw:
    """What the server gives without any of our code, or s3fs's."""

    def __init__(self, endpoint: str, keys: Sequence[str]) -> None:
        self.keys = keys
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        self._connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
        self._paths = {}
        for key in keys:
            place = {"Bucket": BUCKET, "Key": f"corpus/{key}"}
            url = urlsplit(client.generate_presigned_url("get_object", place))
            self._paths[key] = f"{url.path}?{url.query}"

    def get(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        """An object, or a part of it."""
        header = {} if size is None else {"Range": f"bytes={start}-{start + size - 1}"}
        self._connection.request("GET", self._paths[key], headers=header)
        return self._connection.getresponse().read()

    def get_each(self, places: Sequence[tuple[Any, ...]]) -> None:
        """One after the other."""
        for place in places:
            self.get(*place)


def _row(name: str, work: str, ours: Work, raw: Work, lost: int, goal: float | None = _GOAL) -> Row:
    ours()
    raw()
    rounds = [(_seconds(ours), _seconds(raw)) for _ in range(_ROUNDS)]
    ratio = median(theirs / mine for mine, theirs in rounds)
    return Row(
        name=name,
        work=f"{work}; wall time",
        race=Race(median(r[0] for r in rounds), median(r[1] for r in rounds), ratio),
        goal=goal,
        stretch=None,
        conditions=(Condition("lost or other bytes", lost, "<=", 0),),
    )


def _seconds(work: Work) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cpu_seconds(work: Work) -> tuple[float, float]:
    """CPU time of this process and of its children, on an average: the kernel counts in 10 ms."""
    children = psutil.Process().children(recursive=True)

    def spent() -> float:
        return sum(sum(child.cpu_times()[:2]) for child in children)

    work()
    before, rounds = spent(), 2 * _ROUNDS
    here = cpu_seconds(lambda: [work() for _ in range(rounds)])
    return here / rounds, (spent() - before) / rounds


def _read_clips(store: Store, rows: Sequence[PackedClip], num_threads: int) -> Mapping[str, bytes]:
    """The clips as training reads them, some at a time; each is compared with its digest."""
    reader = ClipReader(store, rows)
    starts = range(0, len(rows), _CLIPS_AT_ONCE)
    portions = [[row.id for row in rows[start:][:_CLIPS_AT_ONCE]] for start in starts]
    with ThreadPoolExecutor(num_threads) as threads:
        list(threads.map(reader.fetch, portions))
        return {row.id: reader.audio(row.id) for row in rows}


def _digests(clips: Mapping[str, bytes]) -> None:
    for data in clips.values():
        digest_of_bytes(data)


def _encoded(shard: int = 0) -> list[EncodedClip]:
    draw = np.random.default_rng(shard)
    return [_clip(shard, number, b"fLaC" + draw.bytes(_CLIP_BYTES - 4)) for number in range(_CLIPS)]


def _clip(shard: int, number: int, data: bytes) -> EncodedClip:
    """Bytes that begin as FLAC does and are no audio: nothing decodes them here."""
    name = f"clip {shard}/{number}"
    row = PackedClip(
        id=name, shard=shard_key(shard), offset=0, size=len(data), num_samples=96_000,
        audio_tokens=150, sha256=digest_of_bytes(data), rms=0.1,
        targets={"asr": f"The words of {name}"}, language="en", speaker=None, split="train",
        phrase=None, kind="speech", source="benchmark", license="CC0", origin=(name,),
    )  # fmt: skip
    labels = row.model_dump_json(include={"id", "targets", "language", "license"}).encode()
    return EncodedClip(row, data, labels)


def _members(path: str) -> list[tuple[str, bytes]]:
    """As Python's own reader sees them."""
    with tarfile.open(path) as tar:
        return [
            (member.name, stream.read()) for member in tar if (stream := tar.extractfile(member))
        ]
