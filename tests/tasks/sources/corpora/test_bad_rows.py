"""Rows of corpora that are wrong or hostile: each costs itself, and a split without a usable one is
an error.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from data_contracts.jsonl import from_jsonl
from data_contracts.records import Clip, Rejected
from tasks import ingest
from tasks.sources.catalogue import CorpusError, CorpusSource, corpus_rows
from tasks.sources.manifest import DataSource, source_digest
from tests.support.corpus_rows import rows_of, source_of
from tests.support.corpus_trees import TREES
from tests.support.corpus_trees.files import text, tsv
from tests.support.recordings import stage_context

RECIPE = ingest.IngestRecipe(clips_per_shard=3, max_rejected_share=1)


def test_transcripts_that_are_none_or_are_there_twice_cost_their_own_line(tmp_path: Path) -> None:
    tree = TREES["librispeech"](tmp_path)
    transcripts = tmp_path / "dev-clean/1272/128104/1272-128104.trans.txt"
    transcripts.write_bytes(
        b"1272-128104-0001 \xe9\n1272-128104-0000\tMISTER\n1272-128104-0000 TWICE\n"
        + b"a" * 200_000
        + b"\n\n"
    )
    key = "dev-clean/1272/128104/1272-128104.trans.txt"
    rows = rows_of("librispeech", tmp_path, *tree.splits[1:])
    assert [row_id for row_id, _ in rows] == [
        f"{key} line 1", "1272-128104-0000", f"{key} line 3", f"{key} line 4"
    ]  # fmt: skip
    assert rows[1][1] == "MISTER"
    assert rows[2][1] == "an earlier line is about '1272-128104-0000' too"
    assert rows[3][1] == "it has over 131072 bytes"


def test_aishell2_without_a_path_or_a_speaker_rejects_the_row(tmp_path: Path) -> None:
    folder = tmp_path / "iOS/data"
    text(folder / "wav.scp", "IC1\nIC2\tIC2.wav\nIC3\twav/C3/IC3.wav\n")
    text(folder / "trans.txt", "IC1\t好\nIC2\t好\nIC3\t你 好\nIC4\t好\n")
    rows = dict(rows_of("aishell2", tmp_path, "train"))
    wanted = "it; wanted is wav/SPEAKER/ID.wav"
    assert rows == {
        "iOS/data/IC1": f"wav.scp has the path '' for {wanted}",
        "iOS/data/IC2": f"wav.scp has the path 'IC2.wav' for {wanted}",
        "iOS/data/IC3": "你 好",
        "iOS/data/IC4": f"wav.scp has the path '' for {wanted}",
    }


def test_vocalsound_rejects_an_entry_that_names_no_file(tmp_path: Path) -> None:
    entries = [{"wav": None}, "x", {"wav": "/x/f1_0_cough.wav"}]
    text(tmp_path / "datafiles/te.json", json.dumps({"data": entries}))
    rows = rows_of("vocalsound", tmp_path, "test")
    assert [row_id for row_id, _ in rows] == [
        "datafiles/te.json 0", "datafiles/te.json 1", "f1_0_cough"
    ]  # fmt: skip


QUESTION = {
    "path": "a.wav", "question": "q", "choice_a": "dog", "choice_b": None, "choice_c": "cat",
    "choice_d": "cow", "answer_gt": "cat", "task_name": "T", "dataset_name": "D", "uniq_id": 1,
}  # fmt: skip


def test_letters_of_choices_stay_theirs_where_a_choice_between_is_missing(tmp_path: Path) -> None:
    items: list[object] = [
        QUESTION,
        QUESTION | {"choice_d": None, "uniq_id": 2},
        QUESTION | {"answer_gt": "cow", "uniq_id": 3},
        QUESTION | {"choice_c": None, "choice_d": None, "answer_gt": "dog", "uniq_id": 4},
        "oops",
    ]
    text(tmp_path / "Foundation/Foundation_meta.json", json.dumps(items))
    rows = list(corpus_rows(source_of("air_bench", tmp_path, ("Foundation",))))
    clips = [row for row in rows if isinstance(row, Clip)]
    assert [clip.targets["choice"] for clip in clips] == ["C. cat", "C. cat", "D. cow"]
    for clip in clips:
        assert clip.targets["choice"] in (clip.question or "").split("\n")
    assert [row.detail for row in rows if isinstance(row, Rejected)] == [
        "ValueError: of choice_a to choice_d it has only ['dog']",
        "TypeError: 'oops' is no question with its answer",
    ]


def test_a_command_in_wav_scp_is_refused_and_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "it ran"
    text(tmp_path / "k/train/wav.scp", f"u1 touch '{proof}' |\n")
    text(tmp_path / "k/train/text", "u1 hello\n")
    with pytest.raises(CorpusError, match=r"has the command .*touch.*runs no command.*wav-copy"):
        list(corpus_rows(source_of("kaldi", tmp_path / "k", ("en/train",))))
    assert not proof.exists()


def test_hostile_names_and_values_of_a_corpus_reject_their_own_row_only(tmp_path: Path) -> None:
    header = ("path", "sentence", "translation", "client_id")
    names = ("../../../etc/passwd", "a\x07b.mp3", "good.mp3", "x" * 10_000 + ".mp3", "blank.mp3")
    rows = [(name, "a", " " if "blank" in name else "b", "s") for name in names]
    tsv(
        tmp_path / "c/fr/covost_v2.fr_en.dev.tsv",
        [header, *rows, ("long.mp3", "a", "b" * 11_000, "s")],
    )
    results = list(corpus_rows(source_of("covost2", tmp_path / "c", ("fr_en/dev",))))
    rejected = [row for row in results if isinstance(row, Rejected)]
    assert [type(row) for row in results] == [Rejected, Rejected, Clip, Clip, Rejected, Rejected]
    for row, message in zip(
        rejected, ("climbs out", "pattern", "empty text for s2tt", "at most 10000"), strict=True
    ):
        assert message in row.detail
        assert len(row.id) <= 200
    data = DataSource(corpora=(source_of("covost2", tmp_path / "c", ("fr_en/dev",)),))
    ingest.run(stage_context(tmp_path / "out"), RECIPE, data)
    reasons = [
        row.reason
        for row in from_jsonl((tmp_path / "out/rejected.jsonl").read_text(), Rejected, "")
    ]
    assert sorted(reasons) == ["invalid_row"] * 4 + ["missing_file"] * 2


def test_names_in_other_encodings_cost_their_row_from_digest_to_ingest(tmp_path: Path) -> None:
    for name in ("webdataset", "shar"):
        root = tmp_path / name
        tree = TREES[name](root)
        data = DataSource(corpora=(source_of(name, root, tree.splits),))
        assert source_digest(data)
        ingest.run(stage_context(tmp_path / f"{name} out"), RECIPE, data)
        listed = (tmp_path / f"{name} out/rejected.jsonl").read_text("utf-8")
        ids = [row.id for row in from_jsonl(listed, Rejected, "")]
        assert any("\\ud" in row_id for row_id in ids)
        assert all(row_id.isprintable() for row_id in ids)


def test_a_relative_root_may_lead_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TREES["esc50"](tmp_path / "esc")
    monkeypatch.chdir(tmp_path / "esc/meta")
    source = CorpusSource(name="esc50", root="../../esc", splits=("fold1",))
    assert source.root == str(tmp_path / "esc")
    (clip,) = corpus_rows(source)
    assert isinstance(clip, Clip)
    assert clip.audio == str(tmp_path / "esc/audio/1-100032-A-0.wav")


def test_where_all_rows_are_rejected_the_error_tells_the_first_reasons(tmp_path: Path) -> None:
    header = ("path", "sentence", "translation", "client_id")
    rows = [(f"../{number}.mp3", "a", "b", "s") for number in range(9)]
    tsv(tmp_path / "fr/covost_v2.fr_en.dev.tsv", [header, *rows])
    with pytest.raises(CorpusError) as error:
        list(corpus_rows(source_of("covost2", tmp_path, ("fr_en/dev",))))
    assert re.search(r"split fr_en/dev of corpus covost2 in .* no usable row", str(error.value))
    assert str(error.value).count("climbs out of its folder") == 3


def empty_webdataset(root: Path) -> tuple[str, ...]:
    TREES["webdataset"](root)
    text(root / "test/000000.tar.gz", "x")
    return ("de/train", "de/test")


def empty_fleurs(root: Path) -> tuple[str, ...]:
    TREES["fleurs"](root)
    text(root / "en_us/test.tsv", "")
    return ("fr_fr/test", "en_us/test")


def empty_librispeech(root: Path) -> tuple[str, ...]:
    TREES["librispeech"](root)
    (root / "test-clean").mkdir()
    return ("dev-clean", "test-clean")


def empty_fsdd(root: Path) -> tuple[str, ...]:
    TREES["fsdd"](root)
    return ()


@pytest.mark.parametrize("build", [empty_webdataset, empty_fleurs, empty_librispeech, empty_fsdd])
def test_a_split_that_was_asked_for_and_has_no_record_is_an_error(
    build: Any, tmp_path: Path
) -> None:
    name = build.__name__.removeprefix("empty_")
    splits = build(tmp_path / name)
    missing = splits[-1] if splits else "nicolas"
    message = rf"split {missing} of corpus {name} in .* has no record. Wanted is .*name the splits"
    with pytest.raises(CorpusError, match=message):
        list(corpus_rows(source_of(name, tmp_path / name, splits)))
