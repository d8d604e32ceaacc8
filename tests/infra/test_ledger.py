"""The ledger: an artifact is done when its record is there and its files verify."""

from pathlib import Path

from infra.ledger import Ledger
from tests.support.artifacts import finish


def test_an_artifact_without_record_is_not_found(ledger: Ledger) -> None:
    ledger.directory("sft", "f1").write_bytes("model/weights", b"x")
    assert ledger.find("sft", "f1") is None


def test_a_completed_artifact_is_found_whole_and_without_helper_files(ledger: Ledger) -> None:
    record = finish(ledger, "f1")
    assert ledger.find("sft", "f1") == record
    assert ledger.verify(record) == []
    assert [file.path for file in record.files] == ["model/weights", "notes"]
    assert ledger.directory("sft", "f1").list_keys() == ["model/weights", "notes", "record.json"]


def test_an_unreadable_record_makes_the_artifact_unfinished(ledger: Ledger) -> None:
    finish(ledger, "f1")
    finish(ledger, "f2")
    ledger.directory("sft", "f1").write_text("record.json", '{"stage": "sft"')
    assert ledger.find("sft", "f1") is None
    assert [record.fingerprint for record in ledger.records("sft")] == ["f2"]


def test_a_missing_file_is_found(ledger: Ledger) -> None:
    record = finish(ledger, "f1")
    ledger.directory("sft", "f1").delete("notes")
    assert [(d.path, d.problem) for d in ledger.verify(record)] == [("notes", "missing")]


def test_a_short_file_is_found_with_its_size(ledger: Ledger) -> None:
    record = finish(ledger, "f1")
    ledger.directory("sft", "f1").write_bytes("model/weights", b"01234")
    (damage,) = ledger.verify(record)
    assert damage.path == "model/weights"
    assert damage.problem == "5 bytes instead of 10"


def test_one_flipped_bit_is_found(ledger: Ledger) -> None:
    record = finish(ledger, "f1")
    ledger.directory("sft", "f1").write_bytes("model/weights", b"0123456788")
    (damage,) = ledger.verify(record)
    assert "sha256 differs" in damage.problem


def test_discarding_removes_the_record_and_the_bad_files_only(ledger: Ledger) -> None:
    record = finish(ledger, "f1")
    ledger.directory("sft", "f1").write_bytes("model/weights", b"bad")
    ledger.discard(record, ledger.verify(record))
    assert ledger.find("sft", "f1") is None
    assert ledger.directory("sft", "f1").list_keys() == ["notes"]


def test_records_come_newest_first_and_only_of_the_stage(ledger: Ledger) -> None:
    finish(ledger, "f1", "2026-01-02T00:00:00+00:00")
    finish(ledger, "f2", "2026-03-01T00:00:00+00:00")
    finish(ledger, "f3", "2026-02-01T00:00:00+00:00")
    assert [record.fingerprint for record in ledger.records("sft")] == ["f2", "f3", "f1"]
    assert ledger.records("dpo") == []


def test_completing_clears_what_a_killed_writer_left(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "sft" / "f1" / "model"
    folder.mkdir(parents=True)
    (folder / "weights.partial-0badcafe").write_bytes(b"half")
    record = finish(ledger, "f1")
    assert not (folder / "weights.partial-0badcafe").exists()
    assert len(record.files) == 2


def test_a_file_that_is_called_like_the_record_deeper_in_an_artifact_is_one_of_its_files(
    ledger: Ledger,
) -> None:
    ledger.directory("sft", "f1").write_bytes("model/record.json", b"{}")
    record = finish(ledger, "f1")
    assert [file.path for file in record.files] == ["model/record.json", "model/weights", "notes"]
    assert ledger.records("sft") == [record]


def test_every_damage_is_found_and_every_damaged_file_discarded(ledger: Ledger) -> None:
    record = finish(ledger, "f1")
    directory = ledger.directory("sft", "f1")
    directory.write_bytes("model/weights", b"bad")
    directory.write_bytes("notes", b"m")
    damages = ledger.verify(record)
    assert [damage.path for damage in damages] == ["model/weights", "notes"]
    ledger.discard(record, damages)
    assert directory.list_keys() == []
