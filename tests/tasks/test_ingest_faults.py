"""Ingest on disks and networks that fail: no wrong shard, nothing lost, a later run goes on."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from botocore.retries.standard import ExponentialBackoff

from benchmarks.seaweed import BUCKET, KEYS, seaweed
from data_contracts.records import ShardSummary
from infra.storage import file_systems as remote
from infra.storage.store import Store
from infra.storage.transfer import StoreError
from tasks import ingest
from tasks.corpus.shards import INDEX, SHARDS, read_index
from tasks.ingest import IngestRecipe
from tasks.sources.manifest import DataSource
from tests.support.faulty_proxy import FaultyProxy
from tests.support.recordings import digests, row, stage_context, write_manifest, write_tones

RECIPE = IngestRecipe(clips_per_shard=3)
SHARD = "corpus/shard-00001"


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    names = [f"clip {number}" for number in range(9)]
    write_tones(tmp_path, names)
    return write_manifest(tmp_path, [row(name) for name in names])


def run(folder: Path, source: DataSource) -> None:
    ingest.run(stage_context(folder), RECIPE, source)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES: list[Callable[[Path], None]] = [cut_in_half, flip_a_byte, Path.unlink]


@pytest.mark.parametrize("ending", ["tar", "jsonl"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_made_again_alone_to_the_same_bytes(
    damage: Callable[[Path], None], ending: str, source: DataSource, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(out, source)
    whole = digests(out)
    kept = {
        path: path.stat().st_ino for path in out.glob("corpus/shard-*") if SHARD not in str(path)
    }
    damage(out / f"{SHARD}.{ending}")
    run(out, source)
    assert digests(out) == whole
    assert len(kept) == 4
    assert {path: path.stat().st_ino for path in kept} == kept


def test_the_corpus_names_its_sidecars_and_each_clip_the_bytes_it_was_made_of(
    source: DataSource, tmp_path: Path
) -> None:
    out = Store(str(tmp_path / "out"))
    run(tmp_path / "out", source)
    summaries = [ShardSummary.model_validate_json(line) for line in out.open(SHARDS)]
    assert [summary.shard for summary in summaries] == [
        f"corpus/shard-0000{number}.tar" for number in range(3)
    ]
    for summary in summaries:
        assert out.digest(summary.shard) == summary.sha256
        sidecar = out.read_text(summary.shard.replace(".tar", ".jsonl")).splitlines()
        assert sidecar[0] == summary.model_dump_json()
        assert len(sidecar) == 1 + summary.clips == 4
        assert summary.seconds == pytest.approx(3 * 0.5)
        assert summary.audio_tokens == 3 * 12  # 50 frames, 25 positions, 12 pairs
    for packed in read_index(out):
        (file,) = packed.sources
        assert file.audio == f"{packed.id}.wav"
        assert file.sha256 == hashlib.sha256((tmp_path / file.audio).read_bytes()).hexdigest()


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from tests.support.recordings import stage_context
from tasks import ingest
from tasks.sources.manifest import DataSource
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    source = DataSource(manifest=sys.argv[2])
    ingest.run(stage_context(Path(sys.argv[1])), ingest.IngestRecipe(clips_per_shard=3), source)
except OSError as error:
    print(type(error).__name__, error)
"""


def test_a_disk_that_fills_while_a_shard_is_written_ends_clearly_and_the_next_run_goes_on(
    tmp_path: Path,
) -> None:
    names = [f"clip {number}" for number in range(9)]
    write_tones(tmp_path, names)
    write_tones(tmp_path / "long", names[:3], seconds=20)
    for name in names[:3]:  # the second shard is larger than the others
        (tmp_path / "long" / f"{name}.wav").rename(tmp_path / f"{names[3 + names.index(name)]}.wav")
    source = write_manifest(tmp_path, [row(name) for name in names])

    def ingest_within(most_bytes: int, out: str) -> str:
        script = [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / out), str(source.manifest)]
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            [*script, str(most_bytes), root], check=True, capture_output=True, text=True
        )
        return done.stdout

    assert ingest_within(0, "whole") == ""
    told = ingest_within(100_000, "out")
    assert "DiskFullError" in told
    assert f"there is no room to write {tmp_path}/out/{SHARD}.tar" in told
    assert "run again: what is finished is kept" in told
    left = [
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")
    ]
    assert sorted(left) == ["corpus/shard-00000.jsonl", "corpus/shard-00000.tar"]
    assert ingest_within(0, "out") == ""
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.01)  # botocore's
    with (
        seaweed(tmp_path / "s3" / "weed") as endpoint,
        FaultyProxy(endpoint).running() as running,
    ):
        yield running


def test_a_store_that_fails_and_truncates_gets_the_same_corpus_or_stops_and_goes_on(
    proxy: FaultyProxy, source: DataSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "here", source)
    store = Store(f"s3://{BUCKET}/corpus", {"endpoint_url": proxy.endpoint})
    context = stage_context(tmp_path / "there", directory=store)
    proxy.fail("PUT", "shard-00001.tar", "error", times=1_000)
    with pytest.raises(StoreError, match=r"writing .*shard-00001.tar failed 6 times"):
        ingest.run(context, RECIPE, source)
    assert store.list_keys() == ["corpus/shard-00000.jsonl", "corpus/shard-00000.tar"]

    proxy.plan.clear()
    proxy.fail("PUT", "shard-00001.tar", "error after", times=4)
    proxy.fail("PUT", "shard-00002", "error", times=4)
    proxy.fail("GET", "shard-00000.tar", "cut", times=4)
    proxy.fail("GET", "shard-00001.jsonl", "short", times=4)
    proxy.fail("HEAD", "shard-00002", "error", times=4)
    ingest.run(context, RECIPE, source)
    assert proxy.plan == []
    there = {key: store.digest(key) for key in store.list_keys()}
    assert there == digests(tmp_path / "here")
    assert INDEX in there
    assert sum("attempt" in record.getMessage() for record in caplog.records) >= 8


def test_a_server_that_is_paused_for_a_while_delays_and_spoils_nothing(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = {"read_timeout": 1, "retries": {"total_max_attempts": 1}}
    place = f"s3://{BUCKET}/paused"
    endpoint: dict[str, object] = {"endpoint_url": proxy.endpoint}
    Store(place, endpoint).write_bytes("a", b"x" * 1_000)
    store = Store(place, {**endpoint, "config_kwargs": impatient})
    monkeypatch.setattr(remote, "ATTEMPTS", 1_000)  # the awakened server may need some of them
    server = _listener_at(proxy.server)
    told: list[str] = []

    def tell_and_wake(message: str) -> None:  # however late the first attempt begins
        told.append(message)
        os.kill(server, signal.SIGCONT)

    monkeypatch.setattr(remote._log, "warning", tell_and_wake)
    os.kill(server, signal.SIGSTOP)
    try:
        assert store.read_bytes("a") == b"x" * 1_000
    finally:
        os.kill(server, signal.SIGCONT)
    assert "attempt 1 of 1000 failed (ReadTimeoutError: " in told[0]


def _listener_at(address: str) -> int:
    """The process that listens at an address of this machine."""
    port = int(address.rpartition(":")[2])
    (process,) = {
        found.pid
        for found in psutil.net_connections()
        if found.laddr and found.laddr.port == port and found.status == "LISTEN" and found.pid
    }
    return int(process)
