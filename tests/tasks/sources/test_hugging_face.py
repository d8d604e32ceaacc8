"""Data sets that `datasets` saved, and the same rows as Parquet files and in a hub's cache."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.records import Clip
from infra.storage.store import Store
from tasks.corpus.shards import read_index
from tasks.recordings.decode import DecodeError
from tasks.recordings.read import LastRead
from tasks.sources.manifest import DataSource, DataSourceError, iter_source, source_digest
from tests.support.foreign_rows import CASES, NAMES, audio_bytes, write_recordings
from tests.support.ingests import BARE, run
from tests.support.source_rows import read_source

MADE = Path(__file__).parent / "corpora/made"
TEXTS = ("one", "two", "three")
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def clips_in(path: Path, **columns: str) -> list[Clip]:
    clips, rejects = read_source(DataSource(manifest=str(path), columns=columns))
    assert rejects == []
    return clips


def contents(clips: list[Clip]) -> list[bytes]:
    bytes_of = LastRead()
    return [bytes_of(clip)[0] for clip in clips]


def write_parquet(
    path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None
) -> Path:
    """Write columns as `datasets` does, two rows a group; three recordings as `audio`."""
    stored = [{"bytes": audio_bytes(name), "path": f"{name}.wav"} for name in NAMES]
    table = pa.table({"audio": pa.array(stored, AUDIO), **columns})
    if features is not None:
        about = {"info": {"features": {"audio": {"_type": "Audio"}, **features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


@pytest.mark.parametrize("given", ["dataset", "dataset/dataset_info.json"])
def test_a_saved_data_set_has_each_row_s_own_sound_text_and_speaker(given: str) -> None:
    clips = clips_in(MADE / given)
    assert [clip.targets["asr"] for clip in clips] == list(TEXTS)
    assert [clip.speaker for clip in clips] == ["7", "8", "9"]
    tones = [(MADE / f"tones/tone{number}.wav").read_bytes() for number in range(3)]
    assert contents(clips) == tones


def test_the_splits_of_a_saved_dict_become_those_of_the_rows() -> None:
    clips = clips_in(MADE / "dataset_dict")
    assert {clip.split for clip in clips} == {"train", "dev", "test"}
    assert [clip.targets["asr"] for clip in clips if clip.split == "dev"] == ["three"]
    assert len({clip.id for clip in clips}) == len(clips)


@pytest.mark.parametrize("features", [None, {"text": {"_type": "Value"}}])
def test_recordings_are_read_from_the_cells_of_a_parquet_file(
    features: dict[str, Any] | None, tmp_path: Path
) -> None:
    path = write_parquet(tmp_path / "rows.parquet", {"text": TEXTS}, features)
    clips = clips_in(path)
    assert [clip.cell for clip in clips] == [("audio.bytes", number) for number in range(3)]
    assert contents(clips) == [audio_bytes(name) for name in NAMES]
    assert contents(clips[::-1]) == [audio_bytes(name) for name in NAMES[::-1]]


def test_a_parquet_file_is_packed_and_its_recordings_count_for_the_digest(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", {"text": TEXTS, "language": ["en"] * 3})
    source = DataSource(manifest=str(path))
    run(tmp_path / "out", BARE, source)
    packed = read_index(Store(str(tmp_path / "out")))
    assert [clip.targets["asr"] for clip in packed] == list(TEXTS)
    assert [clip.sources[0].cell for clip in packed] == [("audio.bytes", n) for n in range(3)]
    before = source_digest(source)
    assert source_digest(source) == before
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "audio", table["audio"].take([1, 0, 2])), path)
    assert source_digest(source) != before


def test_class_labels_are_answers_by_their_names(tmp_path: Path) -> None:
    label = {"label": {"_type": "ClassLabel", "names": ["diesel", "electric"]}}
    path = write_parquet(tmp_path / "rows.parquet", {"label": [1, 0, 1]}, label)
    clips = clips_in(path, **{"targets.sound": "label"})
    assert [clip.targets for clip in clips] == [
        {"sound": name} for name in ("electric", "diesel", "electric")
    ]


def test_columns_are_mapped_and_chats_are_conversations(tmp_path: Path) -> None:
    messages = [m | {"content": m["content"]} for m in CASES["messages"][1]["messages"]]
    path = write_parquet(tmp_path / "rows.parquet", {"talk": [messages] * 3})
    table = pq.read_table(path).rename_columns(["sound", "talk"])
    pq.write_table(table, path)
    clips = clips_in(path, audio="sound", messages="talk")
    assert [clip.conversation[0].audio for clip in clips] == [(clip.id,) for clip in clips]
    assert contents(clips) == [audio_bytes(name) for name in NAMES]


def test_a_folder_of_parquet_files_has_splits_by_their_names(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"):
        write_parquet(tmp_path / f"set/data/{name}.parquet", {"text": TEXTS})
    clips = clips_in(tmp_path / "set")
    assert [clip.split for clip in clips] == ["test"] * 3 + ["train"] * 3 + ["dev"] * 3
    assert len({clip.id for clip in clips}) == 9


def test_a_hub_s_cache_is_read_at_the_commit_that_main_names(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--org--name"
    for commit, texts in (("aaa", TEXTS), ("bbb", TEXTS[::-1])):
        blob = write_parquet(cache / f"blobs/{commit}", {"text": texts})
        link = cache / f"snapshots/{commit}/data/train-00000-of-00001.parquet"
        link.parent.mkdir(parents=True)
        link.symlink_to(blob)
    with pytest.raises(DataSourceError, match="2 snapshots and no refs/main"):
        list(iter_source(DataSource(manifest=str(cache))))
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("bbb")
    clips = clips_in(cache)
    assert [clip.targets["asr"] for clip in clips] == list(TEXTS[::-1])
    assert contents(clips) == [audio_bytes(name) for name in NAMES]


def test_recordings_in_files_of_their_own_start_from_the_parquet_file(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    stored = pa.array([{"bytes": None, "path": f"{name}.wav"} for name in NAMES], AUDIO)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"audio": stored, "text": TEXTS}), path)
    clips = clips_in(path)
    assert [clip.audio for clip in clips] == [f"{tmp_path}/{name}.wav" for name in NAMES]


def test_a_row_without_a_recording_is_rejected_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    stored = pa.array([{"bytes": None, "path": "gone.wav"}], AUDIO)
    pq.write_table(pa.table({"audio": stored, "text": ["one"]}), path)
    (clip,) = clips_in(path)
    with pytest.raises(DecodeError, match=r"missing_file: .*has no bytes in row 0"):
        LastRead()(clip)
    with pytest.raises(DecodeError, match="has 1 rows, and no row 9"):
        LastRead()(clip.model_copy(update={"cell": ("audio.bytes", 9)}))


def test_a_data_set_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(
        write_parquet(tmp_path / "whole.parquet", {"text": TEXTS}).read_bytes()[:-9]
    )
    pq.write_table(pa.table({"text": ["one"]}), tmp_path / "no_audio.parquet")
    (tmp_path / "empty").mkdir()
    for name, columns, message in (
        ("cut.parquet", {}, "no whole file of a data set"),
        ("none.parquet", {}, "no whole file of a data set"),
        ("no_audio.parquet", {}, "no columns of audio among text"),
        ("whole.parquet", {"audio": "sound"}, "none named sound"),
        ("whole.parquet", {"text": "words"}, "data.columns names words"),
        ("empty", {}, "there is no manifest"),
    ):
        with pytest.raises(DataSourceError, match=message):
            list(iter_source(DataSource(manifest=f"{tmp_path}/{name}", columns=columns)))
    with pytest.raises(DataSourceError, match="not on this machine"):
        list(iter_source(DataSource(manifest="s3://bucket/rows.parquet")))
