"""`q2a data look` and `q2a data export`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data_contracts.stage_record import StageRecord, fingerprint
from infra.ledger import Ledger
from infra.settings import read_settings
from infra.storage.known_stores import open_store
from tasks import ingest
from tasks.ingest import IngestRecipe
from tests.support.command import q2a
from tests.support.foreign_rows import CASES, write_rows
from tests.support.recordings import row, stage_context

ROWS = [
    CASES["rejected response"][1] | {"language": "en"},
    row("b", audio="gone.wav", language=None, seconds=3.0, split="dev"),
    {"messages": [{"role": "tool", "content": "5"}]},
    {"messages": [{"role": "tool", "content": "6"}]},
]


def manifest(folder: Path) -> str:
    return str(write_rows(folder, ROWS).manifest)


def test_look_tells_forms_counts_rows_and_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch, "data", "look", manifest(tmp_path), "--json") == 0
    overview = json.loads(capsys.readouterr().out)
    assert overview["forms"] == {"ms-swift": 1, "q2a": 1}
    assert (overview["clips"], overview["rejected"]) == (2, 2)
    assert overview["tasks"] == {"preference pair": 1, "asr": 1}
    assert overview["languages"] == {"en": 1, "none": 1}
    assert overview["splits"] == {"train": 1, "dev": 1}
    assert overview["durations"] == {"2-5 s": 1, "unknown": 1}
    problems = {problem["reason"]: problem for problem in overview["problems"]}
    assert problems.keys() == {"invalid_row", "missing_file", "no_language"}
    assert problems["invalid_row"]["count"] == 2
    assert problems["invalid_row"]["examples"][0].startswith("line 3: messages.0.role: 'tool'")
    first, second = overview["examples"]
    assert first["said"] == ("user: <audio>Which bird? | assistant: A wren. | rejected: A dog.")
    assert second["said"] == "asr: b"


def test_look_prints_the_same_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch, "data", "look", manifest(tmp_path)) == 0
    screen = capsys.readouterr().out
    for text in ("Form: ms-swift (1 rows), q2a (1 rows)", "2 rows rejected", "rejected: A dog.",
                 "Problems", "there is no file", "preference pair #"):  # fmt: skip
        assert text in screen


def test_look_maps_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("file,kind\na.wav,dog\n")
    columns = ("--column", "audio=file", "--column", "targets.sound=kind")
    assert q2a(monkeypatch, "data", "look", f"{tmp_path}/t.csv", *columns, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == {"sound": 1}


def test_look_at_what_nobody_understands_ends_with_3_and_the_first_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_rows(tmp_path, ROWS[2:]).manifest)
    assert q2a(monkeypatch, "data", "look", path) == 3
    error = capsys.readouterr().err
    assert "nothing was understood: 2 rows" in error
    assert "2 times messages.....role" in error
    assert "line 3" not in error
    assert q2a(monkeypatch, "data", "look", f"{tmp_path}/none.jsonl") == 3
    assert "there is no file or folder" in capsys.readouterr().err


def test_export_writes_what_look_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = str(write_rows(tmp_path / "in", ROWS[:1]).manifest), str(tmp_path / "out")
    assert q2a(monkeypatch, "data", "export", path, out, "--form", "hf-chat") == 0
    assert "train-pairs.jsonl: 1 rows" in capsys.readouterr().out.replace("\n", "")
    assert q2a(monkeypatch, "data", "look", f"{out}/train-pairs.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == {"preference pair": 1}


def test_export_finds_a_finished_corpus_by_latest_and_by_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read_settings()
    ledger = Ledger(open_store(settings), settings.home / "locks")
    name = fingerprint("ingest", 1, {}, {})
    directory = ledger.directory("ingest", name)
    ingest.run(
        replace(stage_context(tmp_path / "work"), directory=directory),
        IngestRecipe(),
        write_rows(tmp_path / "in", ROWS[:1]),
    )
    record = StageRecord(
        stage="ingest", version=1, fingerprint=name, recipe={}, inputs={}, library_versions={},
        files=ledger.list_files("ingest", name), seconds=1.0, tracking_run="-", finished_at="-",
        counts=dict.fromkeys(("records_in", "records_out", "rejected"), 1),
    )  # fmt: skip
    ledger.complete(record)
    for given in ("latest", name[:8]):
        assert q2a(monkeypatch, "data", "export", given, f"{tmp_path}/{given}") == 0
        assert "train-pairs.jsonl: 1 rows" in capsys.readouterr().out.replace("\n", "")
    assert q2a(monkeypatch, "data", "export", "ffff", f"{tmp_path}/none") == 2
    assert f"there are {name[:12]}" in " ".join(capsys.readouterr().err.split())


WRONG = [
    (["export", "latest", "OUT"], "'latest' is no file or folder and names 0 ingested corpora"),
    (["export", "IN", "OUT", "--form", "swift"], "--form 'swift' is none of ms-swift, llama-"),
    (["export", "IN", "FULL"], "has files already"),
    (["look", "IN", "--column", "audio"], "--column 'audio' is not FIELD=COLUMN"),
    (["look", "esc50:fold9=/data"], "esc50 has no split fold9"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_use_is_named_with_what_could_be_given(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(write_rows(tmp_path / "in", ROWS[:1]).manifest)
    given = {"IN": path, "FULL": str(tmp_path / "in"), "OUT": str(tmp_path / "out")}
    words = [given.get(argument, argument) for argument in arguments]
    assert q2a(monkeypatch, "data", *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
