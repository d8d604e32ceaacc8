"""Stage 1 on real recordings, in one go and after it was stopped."""

import json
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from data_contracts.contract_result import enforce
from data_contracts.records import Clip
from infra.storage.store import Store
from tasks import ingest
from tasks.conversations.dialogues import DialogueRecipe
from tasks.conversations.suites import SuiteRecipe
from tasks.corpus import packing
from tasks.corpus.artifact import read_suites
from tasks.corpus.compose import ComposeRecipe, plain
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import INDEX, read_index
from tasks.ingest import IngestRecipe, check
from tasks.recordings.decode import Recording, decode
from tasks.recordings.long_audio import LengthRule
from tasks.sources.manifest import DataSource
from tests.support.ingests import BARE, rejected_in, run
from tests.support.recordings import digests, row, stage_context, write_manifest, write_tones

REAL = IngestRecipe(
    clips_per_shard=40,
    compose=ComposeRecipe(
        digit_strings={"train": 8, "test": 4}, spoken_commands={"train": 8, "test": 4}
    ),
    dialogues=DialogueRecipe(
        per_task=8, multi_turn=4, two_clips=4, prompts={"train": 8, "test": 4}
    ),
    suites=SuiteRecipe(items=4),
)


@pytest.fixture(scope="module")
def source(small_manifest: Path) -> DataSource:
    return DataSource(manifest=str(small_manifest))


@pytest.fixture(scope="module")
def finished(source: DataSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(folder, REAL, source)
    return folder


def test_every_real_recording_is_packed_with_its_labels(finished: Path, source: DataSource) -> None:
    index = {row.id: row for row in read_index(Store(str(finished)))}
    lines = Path(source.manifest or "").read_text().splitlines()
    assert rejected_in(finished) == []
    for line in map(json.loads, lines):
        packed = index.pop(line["id"])
        assert packed.targets == line["targets"]
        assert (packed.split, packed.language) == (line["split"], line["language"])
        assert packed.origin == (line["id"],)
        assert packed.num_samples / 16_000 == pytest.approx(line["seconds"], abs=0.02)
    kinds = Counter((row.kind, row.split) for row in index.values())
    assert kinds == {
        ("digit", "train"): 8, ("digit", "test"): 4, ("command", "train"): 8, ("command", "test"): 4
    }  # fmt: skip


def test_what_ingest_leaves_behind_meets_its_contracts(finished: Path) -> None:
    for result in check(Store(str(finished))):
        assert result.rows > 0
        enforce(result)
    suites = dict(read_suites(Store(str(finished))))
    assert {"digits", "voice_chat", "spoken_command", "dual_mode", "sound", "asr"} <= set(suites)


def test_a_packed_digit_string_is_its_digits_one_after_the_other(
    finished: Path, source: DataSource
) -> None:
    rows = read_index(Store(str(finished)))
    reader = ClipReader(Store(str(finished)), rows)
    lines = map(json.loads, Path(source.manifest or "").read_text().splitlines())
    audio = {line["id"]: line["audio"] for line in lines}
    strings = [row for row in rows if row.id.startswith("digits-")]
    assert strings
    for string in strings:
        heard, end = reader[string.id], 0
        for part in string.origin:
            digit = decode(Path(audio[part]).read_bytes(), audio[part]).waveform
            starts = range(end, end + 3_201)  # a pause is at most 0.2 s
            errors = [np.abs(heard[s : s + 800] - digit[:800]).max() for s in starts]
            start = starts[int(np.argmin(errors))]
            end = start + len(digit)
            assert np.abs(heard[start:end] - digit).max() < 1 / 32768
        assert end == len(heard)


def test_two_runs_write_the_same_bytes(finished: Path, source: DataSource, tmp_path: Path) -> None:
    run(tmp_path / "again", REAL, source)
    assert digests(tmp_path / "again") == digests(finished)


def identity(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in files
    }


def test_a_run_that_was_killed_keeps_finished_shards_and_ends_with_the_same_bytes(
    finished: Path, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, decoded = tmp_path / "killed", 0

    def decode_until_killed(data: bytes, name: str, *rest: Any) -> Recording:
        nonlocal decoded
        decoded += 1
        if decoded > 100:  # inside the third shard
            raise KeyboardInterrupt
        return decode(data, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "decode", decode_until_killed)
        with pytest.raises(KeyboardInterrupt):
            run(folder, REAL, source)
    before = identity(folder)
    assert sorted(before) == [
        "corpus/shard-00000.jsonl", "corpus/shard-00000.tar",
        "corpus/shard-00001.jsonl", "corpus/shard-00001.tar",
    ]  # fmt: skip
    run(folder, REAL, source)
    assert {name: found for name, found in identity(folder).items() if name in before} == before
    assert digests(folder) == digests(finished)


@pytest.mark.parametrize("lost", ["corpus/shard-00001.tar", "corpus/shard-00001.jsonl"])
def test_a_shard_without_rows_or_rows_without_a_shard_are_made_again_alone(
    lost: str, tmp_path: Path
) -> None:
    names = [f"clip {number}" for number in range(9)]
    write_tones(tmp_path, names)
    source = write_manifest(tmp_path, [row(name) for name in names])
    folder = tmp_path / "out"
    run(folder, BARE, source)
    whole, before = digests(folder), identity(folder)
    (folder / lost).unlink()
    run(folder, BARE, source)
    after = identity(folder)
    assert digests(folder) == whole
    shards = [name for name in before if "shard-" in name]
    assert len(shards) == 6
    kept = {name for name in shards if after[name] == before[name]}
    assert kept == {name for name in shards if "00001" not in name}


class WatchedStore(Store):
    """Remembers what was written, in order."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.written: list[str] = []

    def create(self, key: str) -> AbstractContextManager[BinaryIO]:  # type: ignore[override]
        self.written.append(key)
        return super().create(key)


def test_the_index_is_written_last_and_rows_after_their_shard(tmp_path: Path) -> None:
    names = [f"clip {number}" for number in range(5)]
    write_tones(tmp_path, names)
    store = WatchedStore(str(tmp_path / "out"))
    context = stage_context(tmp_path / "out", directory=store)
    ingest.run(context, BARE, write_manifest(tmp_path, [row(name) for name in names]))
    assert store.written[:4] == [
        "corpus/shard-00000.tar", "corpus/shard-00000.jsonl",
        "corpus/shard-00001.tar", "corpus/shard-00001.jsonl",
    ]  # fmt: skip
    assert store.written[-1] == INDEX
    assert store.written.count(INDEX) == 1


def test_a_store_that_does_not_answer_stops_the_run_instead_of_losing_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tones(tmp_path, ["a", "b"])
    source = write_manifest(tmp_path, [row("a"), row("b")])

    def unreachable(*request: object) -> bytes:
        raise ConnectionError("the store is away")

    clips = [Clip.model_validate(row(name, audio=f"{tmp_path}/{name}.wav")) for name in "ab"]
    jobs = packing.plan_shards(map(plain, clips), 2)
    monkeypatch.setattr("tasks.recordings.read.read_url", unreachable)
    rule = packing.Packing(LengthRule("reject", 120, ()))
    with pytest.raises(ConnectionError, match="away"):
        packing.pack(stage_context(tmp_path / "out"), jobs, 1, rule, "")
    assert not list((tmp_path / "out").rglob("*.tar"))
    monkeypatch.undo()
    assert run(tmp_path / "out", BARE, source).records_out == 2
