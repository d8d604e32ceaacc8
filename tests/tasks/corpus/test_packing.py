"""Packing takes a whole file or the part that a row is about, and accounts for each record."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_contracts.jsonl import from_jsonl
from data_contracts.records import Clip, PackedClip, Rejected, SourceFile
from infra.storage.store import Store
from tasks import ingest
from tasks.corpus import packing
from tasks.corpus.compose import plain
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.ingest import IngestRecipe
from tasks.recordings import read as last_read
from tasks.recordings.long_audio import LengthRule
from tasks.recordings.read import read_audio
from tasks.sources.manifest import source_digest
from tests.support.recordings import noise, row, sound_file, stage_context, write_manifest


def packed_and_rejected(
    folder: Path, rows: Sequence[dict[str, Any]]
) -> tuple[dict[str, PackedClip], dict[str, Rejected]]:
    source = write_manifest(folder, rows)
    recipe = IngestRecipe(max_rejected_share=1.0)
    ingest.run(stage_context(folder / "out"), recipe, source)
    out = Store(str(folder / "out"))
    rejected = from_jsonl(out.read_text("rejected.jsonl"), Rejected, "rejected.jsonl")
    return {clip.id: clip for clip in read_index(out)}, {bad.id: bad for bad in rejected}


@pytest.fixture
def two_seconds(tmp_path: Path) -> Path:
    (tmp_path / "a.wav").write_bytes(sound_file(noise(2, 1)))
    return tmp_path


def test_a_recording_that_ends_before_its_row_says_is_rejected_with_both_lengths(
    two_seconds: Path,
) -> None:
    packed, rejected = packed_and_rejected(
        two_seconds,
        [
            row("whole", audio="a.wav", seconds=2.0),
            row("rounded", audio="a.wav", seconds=2.4),
            row("half of it", audio="a.wav", seconds=4.0),
            row("part", audio="a.wav", begin_seconds=0.5, end_seconds=1.5),
            row("part to the end", audio="a.wav", begin_seconds=1.5, seconds=2.0),
            row("part of half of it", audio="a.wav", begin_seconds=1.5, seconds=4.0),
            row("rounded part", audio="a.wav", begin_seconds=1.0, end_seconds=2.4),
            row("behind the end", audio="a.wav", begin_seconds=1.5, end_seconds=20.0),
        ],
    )
    assert packed.keys() == {"whole", "rounded", "part", "part to the end", "rounded part"}
    assert packed["rounded part"].num_samples == 16_000
    assert {bad.reason for bad in rejected.values()} == {"ends_early"}
    assert rejected.keys() == {"half of it", "part of half of it", "behind the end"}
    for name, seconds in (("half of it", 4), ("part of half of it", 4), ("behind the end", 20)):
        assert (
            f"ends 2.000 s after its beginning; its row says {seconds}.000" in rejected[name].detail
        )


def test_progress_tells_shards_hours_speed_and_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count(step=10)  # that pass from one look at the clock to the next
    monkeypatch.setattr(packing, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    (tmp_path / "a.wav").write_bytes(sound_file(noise(30, 1)))
    source = write_manifest(tmp_path, [row(name, audio="a.wav") for name in "abcdefg"])
    lines: list[str] = []
    context = replace(stage_context(tmp_path / "out"), progress=lines.append)
    ingest.run(context, IngestRecipe(clips_per_shard=2), source)
    assert lines[:4] == [
        "shard 0 written: [#####---------------] 1 of 4, 0.02 h of audio at 0.002 h/s, "
        "about 0:00:30 left, then the search for duplicates and leaks",
        "shard 1 written: [##########----------] 2 of 4, 0.03 h of audio at 0.002 h/s, "
        "about 0:00:20 left, then the search for duplicates and leaks",
        "shard 2 written: [###############-----] 3 of 4, 0.05 h of audio at 0.002 h/s, "
        "about 0:00:10 left, then the search for duplicates and leaks",
        "shard 3 written: [####################] 4 of 4, 0.06 h of audio at 0.001 h/s, "
        "about 0:00:00 left, then the search for duplicates and leaks",
    ]
    (tmp_path / "out/corpus/shard-00001.tar").unlink()
    lines.clear()
    ingest.run(context, IngestRecipe(clips_per_shard=2), source)
    assert lines[0].startswith("shard 1 written: [##########----------] 2 of 4, 0.02 h of audio")
    assert "about 0:00:20 left, then the search" in lines[0]


def test_a_shard_with_another_number_of_records_than_planned_is_refused_by_its_name(
    two_seconds: Path,
) -> None:
    """An interrupted run wrote it; then a row was added to the source."""
    clips = [plain(Clip.model_validate(row(name, audio=f"{two_seconds}/a.wav"))) for name in "ab"]
    context = stage_context(two_seconds / "out")
    packing_rules = packing.Packing(LengthRule("reject", 30, ()))
    jobs = [packing.ShardJob(0, (clips[0],))]
    (summary,) = packing.pack(context, jobs, 1, packing_rules, [])
    assert (summary.clips, summary.rejected) == (1, 0)
    message = r"shard-00000\.tar accounts for 1 records and 2 were planned.*delete this file"
    with pytest.raises(packing.ShardCountError, match=message):
        packing.pack(context, [packing.ShardJob(0, tuple(clips))], 1, packing_rules, [])


def test_a_clip_names_the_part_of_the_file_that_it_was_made_of(tmp_path: Path) -> None:
    first, second = (sound_file(noise(2, seed), container="FLAC") for seed in (1, 2))
    (tmp_path / "both.bin").write_bytes(first + second)
    packed, _ = packed_and_rejected(
        tmp_path,
        [
            row("first", audio="both.bin", num_bytes=len(first)),
            row("late", audio="both.bin", begin_byte=len(first), num_bytes=len(second),
                begin_seconds=0.5, end_seconds=1.75),
        ],
    )  # fmt: skip
    ((one,), (other,)) = (packed[name].sources for name in ("first", "late"))
    assert one == SourceFile(audio="both.bin", sha256=one.sha256, num_bytes=len(first))
    data = read_audio(f"{tmp_path}/both.bin", other.begin_byte, other.num_bytes)
    assert data == second
    heard = ClipReader(Store(str(tmp_path / "out")), list(packed.values()))["late"]
    assert np.abs(heard - noise(2, 2)[8_000:28_000]).max() < 1 / 32_768
    assert (other.begin_seconds, other.end_seconds) == (0.5, 1.75)


def test_a_clip_knows_how_much_of_it_is_cut_off_at_full_scale(tmp_path: Path) -> None:
    waveform = noise(1, 1)
    waveform[:160] = 1.5
    (tmp_path / "loud.wav").write_bytes(sound_file(waveform, subtype="FLOAT"))
    packed, _ = packed_and_rejected(tmp_path, [row("loud")])
    assert packed["loud"].clipped_share == 0.01


def test_a_file_is_read_once_for_successive_rows_that_take_parts_of_it(
    two_seconds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def recorded(url: str, *byte_range: Any) -> bytes:
        read.append(url)
        return read_audio(url, *byte_range)

    monkeypatch.setattr(last_read, "read_audio", recorded)
    (two_seconds / "b.wav").write_bytes(sound_file(noise(2, 2)))
    times = [{"begin_seconds": i / 4, "end_seconds": i / 4 + 0.25} for i in range(8)]
    rows = [row(f"{n}{i}", audio=f"{n}.wav", **t) for n in "ab" for i, t in enumerate(times)]
    source = write_manifest(two_seconds, rows)
    source_digest(source)
    assert read == [str(two_seconds / "a.wav"), str(two_seconds / "b.wav")]
    ingest.run(stage_context(two_seconds / "out"), IngestRecipe(), source)
    assert read == 2 * [str(two_seconds / "a.wav"), str(two_seconds / "b.wav")]
