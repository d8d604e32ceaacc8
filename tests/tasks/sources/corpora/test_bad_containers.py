"""Tars, shards of cuts and saved data sets that are damaged, or hold other things than they say."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from data_contracts.records import Rejected
from infra.storage.source_files import open_url
from tasks.sources import corpus_files as files
from tasks.sources.catalogue import CorpusError, corpus_rows
from tests.support.corpus_rows import source_of
from tests.support.corpus_trees import TREES
from tests.support.corpus_trees.files import add, as_file, recordings


def test_damaged_containers_are_refused_with_the_remedy(tmp_path: Path) -> None:
    for name, pattern, message in (
        ("webdataset", "train/*.tar", r"000000.tar is no plain tar.*gzip -d"),
        ("shar", "dev/recording.*.tar", r"recording.000000.tar is no plain tar"),
        ("shar", "dev/cuts.*.gz", r"cuts.000000.jsonl.gz is no list of cuts.*again"),
        ("saved_dataset", "validation/*.arrow", r"arrow is no Arrow stream.*Save it again"),
    ):
        root = tmp_path / f"{name} {pattern[-2:]} {pattern[:6].replace('/', ' ')}{message[:6]}"
        tree = TREES[name](root)
        for path in root.glob(pattern):
            path.write_bytes(path.read_bytes()[:300] + b"\x1f" * 2_000)
        with pytest.raises(CorpusError, match=message):
            list(corpus_rows(source_of(name, root, tree.splits)))


def test_a_saved_dataset_without_audio_or_text_column_is_refused(tmp_path: Path) -> None:
    TREES["saved_dataset"](tmp_path / "hf")
    info = tmp_path / "hf/validation/dataset_info.json"
    info.write_text(info.read_text().replace('"sentence"', '"words"'))
    with pytest.raises(CorpusError, match=r"columns audio, words, .*rename_column"):
        list(corpus_rows(source_of("saved_dataset", tmp_path / "hf", ("en/validation",))))


def test_a_shard_of_cuts_that_is_broken_inside_is_refused(tmp_path: Path) -> None:
    tree = TREES["shar"](tmp_path)
    path = tmp_path / "dev/cuts.000000.jsonl.gz"
    whole = gzip.compress(gzip.decompress(path.read_bytes()) * 20)
    for broken in (whole[:15] + b"\xff\xff\xff" + whole[18:], whole[:-30]):
        path.write_bytes(broken)
        with pytest.raises(CorpusError, match=r"jsonl.gz is no list of cuts: .*Write the Shar"):
            list(corpus_rows(source_of("shar", tmp_path, tree.splits)))


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("state.json", {"_data_files": None}, r"state.json has no list `_data_files`"),
        ("state.json", {"_data_files": ["a.arrow"]}, r"state.json has no list `_data_files`"),
        ("state.json", {"_indices_data_files": [{"filename": "i"}]}, r"flatten_indices\(\)"),
        ("state.json", {"_split": "train"}, r"is of the split train, not validation"),
        ("state.json", [], r"state.json is no JSON object"),
        ("dataset_info.json", [1], r"dataset_info.json is no JSON object"),
        ("dataset_info.json", {"features": [1]}, r"has the columns ; wanted"),
        ("dataset_info.json", {"features": {"sentence": {"_type": "Audio"}, "text": {}}},
         r"holds audio as string; wanted is a struct.*cast_column"),
    ],
)  # fmt: skip
def test_a_saved_dataset_that_is_another_than_it_says_is_refused(
    key: str, change: Any, message: str, tmp_path: Path
) -> None:
    tree = TREES["saved_dataset"](tmp_path)
    path = tmp_path / "validation" / key
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | change if isinstance(change, dict) else change))
    with pytest.raises(CorpusError, match=message):
        list(corpus_rows(source_of("saved_dataset", tmp_path, tree.splits)))


def test_a_tar_is_opened_once_however_many_texts_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flac = as_file(recordings()[0], "FLAC")
    (tmp_path / "train").mkdir()
    with tarfile.open(tmp_path / "train/0.tar", "w") as tar:
        for number in range(20):
            add(tar, f"{number}.flac", flac)
            add(tar, f"{number}.txt", b"hi")
    opened: list[str] = []

    def watched(url: str) -> BinaryIO:
        opened.append(url)
        return open_url(url)

    monkeypatch.setattr(files, "open_url", watched)
    assert len(list(corpus_rows(source_of("webdataset", tmp_path, ("en/train",))))) == 20
    assert opened == [str(tmp_path / "train/0.tar")]


def test_a_sample_of_a_tar_that_is_no_row_is_rejected_with_its_reason(tmp_path: Path) -> None:
    tree = TREES["webdataset"](tmp_path / "wds")
    rows = corpus_rows(source_of("webdataset", tmp_path / "wds", tree.splits))
    rejected = [(row.id, row.detail) for row in rows if isinstance(row, Rejected)]
    assert ("wds/train/000001/u6", "it has 2 recordings: u6.flac, u6.wav") in rejected
    assert ("wds/train/000001/u8", "its text 'u8.txt' has over 131072 bytes") in rejected
    assert ("wds/train/000001/u2", "an earlier sample has the key 'u2' too") in rejected
    details = dict(rejected)
    assert details["wds/train/000001/u7"].startswith("its text 'u7.txt' is not UTF-8: ")
    assert details["wds/train/000000/a/utt"].startswith("it has no file named *.flac, ")
