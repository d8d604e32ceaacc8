"""Shards, read back by `tarfile` and `webdataset`, and the reader by offset."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

from data_contracts.jsonl import RecordError
from data_contracts.records import Clip, PackedClip, Rejected, Turn
from infra.storage.store import MissingFileError, Store
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import (
    MadeClip,
    encode_clip,
    find_shard,
    read_index,
    read_summary,
    shard_key,
    write_index,
    write_shard,
)
from tests.support.recordings import noise

NAMES = ["a", "b/with slash.and dot", "ünïcode", "d"]


def clip(name: str) -> Clip:
    return Clip(
        id=name,
        audio=f"/secret/place/{name}.wav",
        targets={"asr": f"Text of {name}"},
        language="en",
        sha256="0" * 64,
        license="CC0-1.0",
    )


def write(folder: Path, number: int = 3, names: list[str] = NAMES) -> list[PackedClip]:
    clips = (
        MadeClip(clip(name), noise(1, seed), seed / 3, (name, "part"))
        for seed, name in enumerate(names)
    )
    return write_shard(Store(str(folder)), number, clips)


def shard_path(folder: Path) -> Path:
    return folder / "corpus" / "shard-00003.tar"


def test_webdataset_reads_the_shard_back(tmp_path: Path) -> None:
    rows = write(tmp_path)
    samples = list(webdataset.WebDataset(str(shard_path(tmp_path)), shardshuffle=False))
    assert [json.loads(sample["json"])["id"] for sample in samples] == NAMES
    for row, sample in zip(rows, samples, strict=True):
        labels = json.loads(sample["json"])
        assert labels["targets"] == row.targets == {"asr": f"Text of {row.id}"}
        assert labels["license"] == "CC0-1.0"
        assert "audio" not in labels  # where it lay on somebody's disk is nobody's business
        assert hashlib.sha256(sample["flac"]).hexdigest() == row.sha256


def test_the_index_points_at_the_flac_files_and_describes_them(tmp_path: Path) -> None:
    rows = write(tmp_path)
    data = shard_path(tmp_path).read_bytes()
    for seed, row in enumerate(rows):
        waveform, rate = soundfile.read(io.BytesIO(data[row.offset : row.offset + row.size]))
        original = noise(1, seed)
        assert rate == 16_000
        assert len(waveform) == row.num_samples
        assert np.abs(waveform - original).max() < 1 / 32768
        assert row.rms == pytest.approx(np.sqrt(np.mean(original**2)), abs=1e-6)
        assert row.shard == shard_key(3) == "corpus/shard-00003.tar"
        assert row.origin == (row.id, "part")
        assert row.cut_seconds == pytest.approx(seed / 3, abs=1e-4)


def test_equal_input_gives_equal_bytes_without_owner_or_time(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    first, second = shard_path(tmp_path / "one"), shard_path(tmp_path / "two")
    assert hashlib.sha256(first.read_bytes()).digest() == (
        hashlib.sha256(second.read_bytes()).digest()
    )
    with tarfile.open(first) as members:
        assert {(m.mtime, m.uname, m.gname, m.mode) for m in members} == {(0, "q2a", "q2a", 0o444)}


def test_a_shard_of_nothing_is_an_empty_tar(tmp_path: Path) -> None:
    assert write(tmp_path, names=[]) == []
    with tarfile.open(shard_path(tmp_path)) as members:
        assert members.getnames() == []


def test_the_index_survives_writing_and_reading(tmp_path: Path) -> None:
    rows = write(tmp_path)
    write_index(Store(str(tmp_path)), rows)
    assert read_index(Store(str(tmp_path))) == rows


def test_a_missing_or_damaged_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"index.jsonl.*q2a plan"):
        read_index(Store(str(tmp_path)))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "index.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(RecordError, match=r"index.jsonl line 1 is not a PackedClip: shard"):
        read_index(Store(str(tmp_path)))


def test_the_reader_returns_exactly_the_samples_in_the_tar(tmp_path: Path) -> None:
    rows = write(tmp_path)
    reader = ClipReader(Store(str(tmp_path)), rows)
    assert list(reader) == NAMES
    assert len(reader) == len(NAMES)
    with tarfile.open(shard_path(tmp_path)) as members:
        flacs = [members.extractfile(m).read() for m in members if m.name.endswith(".flac")]  # type: ignore[union-attr]
    for name, flac in reversed(list(zip(NAMES, flacs, strict=True))):
        expected, _ = soundfile.read(io.BytesIO(flac), dtype="float32")
        assert reader.audio(name) == flac
        assert reader[name].dtype == np.float32
        assert np.array_equal(reader[name], expected)
        assert reader.row(name).id == name


def test_whether_a_clip_is_known_is_answered_without_reading_it(tmp_path: Path) -> None:
    rows = write(tmp_path)
    shard_path(tmp_path).unlink()
    reader = ClipReader(Store(str(tmp_path)), rows)
    assert "a" in reader
    assert "another" not in reader
    with pytest.raises(KeyError, match="another"):
        reader["another"]


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    with path.open("r+b") as stream:
        stream.write(data)


def test_a_flipped_byte_is_noticed_by_clip_and_shard(tmp_path: Path) -> None:
    rows = write(tmp_path)
    flip_byte(shard_path(tmp_path), rows[1].offset + rows[1].size // 2)
    reader = ClipReader(Store(str(tmp_path)), rows)
    with pytest.raises(ValueError, match=r"'b/with slash.and dot'.*shard-00003.tar.*sha256"):
        reader[NAMES[1]]
    assert len(reader["a"]) == 16_000  # its neighbours are whole


def test_the_cache_holds_what_fits_and_forgets_what_was_not_used(tmp_path: Path) -> None:
    rows = write(tmp_path)
    path = shard_path(tmp_path)
    reader = ClipReader(Store(str(tmp_path)), rows, cache_bytes=2 * max(r.size for r in rows))
    whole = [reader.audio(name) for name in ("a", NAMES[1], "a", "ünïcode")]
    for row in rows:
        flip_byte(path, row.offset + row.size // 2)
    assert reader.audio("a") == whole[0]  # used last but one: still in memory
    assert reader.audio("ünïcode") == whole[3]
    with pytest.raises(ValueError, match="damaged"):
        reader.audio(NAMES[1])  # dropped, so read anew


def test_a_clip_larger_than_the_cache_is_still_read(tmp_path: Path) -> None:
    reader = ClipReader(Store(str(tmp_path)), write(tmp_path), cache_bytes=1)
    for _ in range(2):
        assert [len(reader[name]) for name in NAMES] == [16_000] * 4


def test_no_flipped_bit_of_a_sidecar_or_shard_is_believed(tmp_path: Path) -> None:
    """The totals of the first line are no exception: they become a line of the corpus."""
    silent = Rejected(id="x", reason="silent", detail="-90 dB")
    made = MadeClip(clip("a"), noise(1, 0), 0.0, ("a",))
    write_shard(Store(str(tmp_path)), 3, [made, silent])
    store, sidecar = Store(str(tmp_path)), tmp_path / "corpus" / "shard-00003.jsonl"
    assert find_shard(store, 3) == read_summary(store, 3)
    for path, step in ((sidecar, 1), (shard_path(tmp_path), 997)):
        data = path.read_bytes()
        for position in range(0, len(data), step):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            path.write_bytes(changed)
            assert find_shard(store, 3) is None, changed[position - 9 : position + 9]
        path.write_bytes(data)
    assert find_shard(store, 3) == read_summary(store, 3)


@pytest.mark.parametrize("name", ["shard-00003.jsonl", "shard-00003.tar"])
def test_a_shard_that_is_cut_off_or_misses_a_file_is_made_again(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    path = tmp_path / "corpus" / name
    data = path.read_bytes()
    for size in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert find_shard(Store(str(tmp_path)), 3) is None
    path.unlink()
    assert find_shard(Store(str(tmp_path)), 3) is None


def test_the_rejected_answer_of_a_pair_is_packed_with_its_conversation() -> None:
    asked = (Turn(role="user", text="Which bird?"), Turn(role="assistant", text="A wren."))
    pair = Clip(id="a", audio="-", targets={}, conversation=asked, rejected="A dog.")
    encoded = encode_clip(MadeClip(pair, noise(1, 0), 0.0, ("a",)), 0, "flac")
    assert (encoded.row.conversation, encoded.row.rejected) == (asked, "A dog.")
    assert json.loads(encoded.labels)["rejected"] == "A dog."
    plain = encode_clip(MadeClip(clip("a"), noise(1, 0), 0.0, ("a",)), 0, "flac")
    assert b"rejected" not in plain.row.model_dump_json().encode() + plain.labels
