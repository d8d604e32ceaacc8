"""Every recipe on a tree of its corpus's true layout, from the files to the packed clips."""

import json
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from pydantic import ValidationError

from data_contracts.contract_result import enforce
from data_contracts.jsonl import from_jsonl
from data_contracts.languages import LANGUAGES
from data_contracts.records import Clip, Rejected
from infra.storage.store import Store
from tasks import ingest
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.recordings.decode import DecodeError
from tasks.recordings.read import read_audio
from tasks.sources import corpora as corpora_folder
from tasks.sources.catalogue import CorpusError, CorpusSource, corpora, corpus_rows, find_corpus
from tasks.sources.manifest import DataSource, source_digest
from tests.support.corpus_rows import source_of
from tests.support.corpus_trees import LOCALES, TREES
from tests.support.corpus_trees.files import sound, text
from tests.support.corpus_trees.tree import Heard
from tests.support.recordings import stage_context

RECIPE = ingest.IngestRecipe(clips_per_shard=3, max_rejected_share=1)


@pytest.mark.parametrize("tree_name", [*TREES, *LOCALES])
def test_a_corpus_is_packed_with_its_labels_and_its_samples_are_those_that_soundfile_reads(
    tree_name: str, tmp_path: Path
) -> None:
    root = tmp_path / "the corpus"
    name = "common_voice" if tree_name in LOCALES else tree_name
    tree = (TREES | LOCALES)[tree_name](root)
    data = DataSource(corpora=(source_of(name, root, tree.splits),))
    for result in ingest.check_source(data):
        enforce(result)
    ingest.run(stage_context(tmp_path / "out"), RECIPE, data)
    store = Store(str(tmp_path / "out"))
    rows = {row.id: row for row in read_index(store)}
    listed = from_jsonl(store.read_text(ingest.REJECTED), Rejected, ingest.REJECTED)
    assert {row.id: row.reason for row in listed} == tree.rejected
    assert set(rows) == set(tree.heard)
    reader = ClipReader(store, list(rows.values()))
    corpus = find_corpus(name)
    for row_id, heard in tree.heard.items():
        row = rows[row_id]
        found = (dict(row.targets), row.split, row.language, row.speaker)
        assert found == (heard.targets, heard.split, heard.language, heard.speaker)
        assert {key: getattr(row, key) for key in heard.others} == heard.others
        assert row.source == row_id.split("/")[0]
        assert row.targets.keys() <= set(corpus.tasks)
        assert row.language is None or row.language in corpus.languages
        check_samples(reader[row_id], heard, tree.exact)


def check_samples(packed: np.ndarray, heard: Heard, exact: bool) -> None:
    if exact:
        # 16 bits: what mp3 and averaged channels have below is rounded.
        assert len(packed) == len(heard.samples)
        assert np.abs(packed - heard.samples).max() <= 0.51 / 32768
        if np.array_equal(heard.samples, np.round(heard.samples * 32768) / 32768):
            assert np.array_equal(packed, heard.samples)
        return
    # AAC: the sound begins somewhat later and is about the same.
    shortest = min(len(packed), len(heard.samples)) - 2_048
    delays = [np.dot(packed[d : d + shortest], heard.samples[:shortest]) for d in range(2_048)]
    begin = int(np.argmax(delays))
    assert np.corrcoef(packed[begin : begin + shortest], heard.samples[:shortest])[0, 1] > 0.95


def test_every_recipe_has_a_tree_and_states_what_list_prints() -> None:
    found = corpora()
    assert set(found) == set(TREES)
    for name, corpus in found.items():
        assert name == corpus.name
        for stated in (corpus.title, corpus.license, corpus.homepage, corpus.layout):
            assert stated.strip()
        assert corpus.tasks
        assert corpus.splits
        assert set(corpus.splits.values()) <= {"train", "dev", "test"}
        assert set(corpus.languages) <= set(LANGUAGES)
        assert len(set(corpus.languages)) == len(corpus.languages)


def test_conversations_of_air_bench_chat_keep_question_and_answer(tmp_path: Path) -> None:
    TREES["air_bench"](tmp_path / "air")
    (row,) = corpus_rows(source_of("air_bench", tmp_path / "air", ("Chat",)))
    assert isinstance(row, Clip)
    assert [(turn.role, turn.text) for turn in row.conversation] == [
        ("user", "Why?"), ("assistant", "Because.")
    ]  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_without_its_tables_a_corpus_is_refused_with_the_place_and_the_remedy(
    name: str, tmp_path: Path
) -> None:
    tmp_path.joinpath("empty").mkdir()
    splits = TREES[name](tmp_path / "whole").splits or tuple(find_corpus(name).splits)
    with pytest.raises(CorpusError, match=r"there is no (file|folder) .*empty/.*unpacked.*--data"):
        list(corpus_rows(source_of(name, tmp_path / "empty", splits)))


def test_a_range_of_bytes_beyond_the_file_is_a_missing_file(tmp_path: Path) -> None:
    tree = TREES["webdataset"](tmp_path / "wds")
    rows = list(corpus_rows(source_of("webdataset", tmp_path / "wds", tree.splits)))
    short = tmp_path / "wds/train/000000.tar"
    last = [row for row in rows if isinstance(row, Clip) and row.audio == str(short)][-1]
    short.write_bytes(short.read_bytes()[: last.begin_byte + 1])
    with pytest.raises(DecodeError, match=r"missing_file: .*000000.tar .*ends after"):
        read_audio(last.audio, last.begin_byte, last.num_bytes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "librispech", "root": "/a"}, "no corpus 'librispech'.*librispeech.*--list"),
        (
            {"name": "esc50", "root": "/a", "splits": ["fold6"]},
            "esc50 has no split fold6; it has fold1",
        ),
        ({"name": "kaldi", "root": "/a"}, "by language.*--data kaldi:"),
        ({"name": "kaldi", "root": "/a", "splits": ["xx/train"]}, "no split xx/train.* more"),
        ({"name": "esc50", "root": ""}, "at least 1 character"),
        ({"name": "esc50", "root": "pipe:cat /data"}, "of the protocol 'pipe'"),
        ({"name": "esc50", "root": "/a", "url": "b"}, "Extra inputs"),
    ],
)
def test_a_source_that_names_no_corpus_or_split_is_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        CorpusSource.model_validate(fields)


def test_corpora_are_a_source_of_their_own_kind(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"corpora=\['fsdd'\]; give exactly one"):
        DataSource(folder="a", corpora=(source_of("fsdd", tmp_path),))


def test_two_corpora_never_share_an_id_a_speaker_or_a_phrase(tmp_path: Path) -> None:
    sources = []
    for name in ("one", "two"):
        text(tmp_path / name / "test/9/1/9-1.trans.txt", "9-1-1 hello\n")
        sound(0, tmp_path / name / "test/9/1/9-1-1.wav")
        sources.append(source_of("speech_folders", tmp_path / name, ("en/test",)))
    clips = list(ingest.clips_of(DataSource(corpora=tuple(sources))))
    assert [clip.id for clip in clips] == ["one/9-1-1", "two/9-1-1"]
    assert [clip.speaker for clip in clips] == ["one/9", "two/9"]


def test_the_identity_of_a_corpus_is_its_content_and_not_its_place(tmp_path: Path) -> None:
    tree = TREES["saved_dataset"](tmp_path / "hf")
    shutil.copytree(tmp_path / "hf", tmp_path / "moved/hf")

    def digest(root: Path) -> str:
        return source_digest(DataSource(corpora=(source_of("saved_dataset", root, tree.splits),)))

    before = digest(tmp_path / "hf")
    assert digest(tmp_path / "moved/hf") == before
    info = tmp_path / "moved/hf/validation/data-00000-of-00002.arrow"
    data = bytearray(info.read_bytes())
    data[data.index(b"RIFF") + 2_000] ^= 1
    info.write_bytes(bytes(data))
    assert digest(tmp_path / "moved/hf") != before


def test_a_corpus_is_read_from_any_file_system(tmp_path: Path) -> None:
    TREES["esc50"](tmp_path / "esc")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "esc"), "/esc", recursive=True)
    try:
        data = DataSource(corpora=(CorpusSource(name="esc50", root="memory://esc"),))
        assert {clip.audio for clip in ingest.clips_of(data)} == {
            "memory:///esc/audio/1-100032-A-0.wav",
            "memory:///esc/audio/5-103415-A-2.wav",
            "memory:///esc/audio/4-1-A-1.wav",
            "memory:///esc/audio/2-2-A-0.wav",
            "memory:///esc/audio/3-3-A-0.wav",
        }
        ingest.run(stage_context(tmp_path / "out"), RECIPE, data)
        assert len(read_index(Store(str(tmp_path / "out")))) == 5
    finally:
        memory.rm("/esc", recursive=True)


NEW_CORPUS = '''
"""Barks: dogs, one folder a breed."""

from tasks.sources.corpus import Corpus
from tasks.sources.tables import map_rows, read_table


def _rows(files, split):
    def row(line):
        yield {
            "id": line["file"],
            "audio": files.location(f"sounds/{line['file']}"),
            "targets": {"sound": line["breed"]},
            "kind": "sound",
        }

    return map_rows(read_table(files, f"{split}.csv", ("file", "breed")), row)


CORPUS = Corpus(
    name="barks",
    title="Barks",
    license="CC0-1.0",
    homepage="https://example.org",
    tasks=("sound",),
    languages=(),
    splits={"a": "train", "b": "test"},
    layout="{a,b}.csv (file, breed) and sounds/",
    rows=_rows,
)
'''


def test_a_new_corpus_is_one_file_of_thirty_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len([line for line in NEW_CORPUS.splitlines() if line.strip()]) <= 30
    plugin = tmp_path / "recipes"
    plugin.mkdir()
    (plugin / "barks.py").write_text(NEW_CORPUS)
    monkeypatch.setattr(corpora_folder, "__path__", [*corpora_folder.__path__, str(plugin)])
    text(tmp_path / "b/b.csv", "file,breed\nrex.wav,beagle\n")
    samples = sound(0, tmp_path / "b/sounds/rex.wav")
    data = DataSource(corpora=(source_of("barks", tmp_path / "b", ("b",)),))
    ingest.run(stage_context(tmp_path / "out"), RECIPE, data)
    store = Store(str(tmp_path / "out"))
    (row,) = read_index(store)
    assert (row.id, row.targets, row.split, row.license) == (
        "barks/rex.wav", {"sound": "beagle"}, "test", "CC0-1.0"
    )  # fmt: skip
    assert np.array_equal(ClipReader(store, [row])["barks/rex.wav"], samples)
    assert json.loads(store.read_text("suites/sound.jsonl"))["suite"] == "sound"
