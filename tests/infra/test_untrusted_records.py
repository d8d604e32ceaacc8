"""A record is data from outside: whoever can write into the store can write one."""

import hashlib
import json
from pathlib import Path

import pytest

from data_contracts.sealed_json import SEAL
from data_contracts.stage_record import StageRecord, fingerprint
from infra.ledger import Ledger
from tests.support.artifacts import finish, flipped, make_record, rewrite

PLANTED = (
    "../../../victim/thesis",
    "/etc/passwd",
    "a/../../../../victim/thesis",
    "./notes",
    "a//b",
    "",
    "..",
    "record.json",
    "scratch/half",
    "a\\b",
    "a\nb",
)


@pytest.mark.parametrize("path", PLANTED)
def test_a_record_that_names_a_path_outside_of_its_artifact_is_no_record(
    ledger: Ledger, tmp_path: Path, path: str
) -> None:
    victim = tmp_path / "victim" / "thesis"
    victim.parent.mkdir()
    victim.write_text("years of work")
    finish(ledger, "f1")
    rewrite(ledger, "f1", lambda record: record["files"][0].update(path=path))

    assert ledger.find("sft", "f1") is None
    assert ledger.records("sft") == []
    assert victim.read_text() == "years of work"


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"counts": {"records_in": 1, "records_out": 1}},
        {"counts": {"records_in": 1, "records_out": 1, "rejected": -1}},
        {"stage": "dpo"},
        {"fingerprint": "f2"},
    ],
)
def test_a_record_that_is_incomplete_or_of_another_artifact_is_no_record(
    ledger: Ledger, change: dict[str, object]
) -> None:
    finish(ledger, "f1")
    rewrite(ledger, "f1", lambda record: record.update(change))

    assert ledger.find("sft", "f1") is None
    assert ledger.records("sft") == []


def test_no_flipped_bit_of_a_record_is_believed(ledger: Ledger) -> None:
    record = finish(ledger, "f1")
    data = ledger.directory("sft", "f1").read_bytes("record.json")
    assert StageRecord.from_json(data) == record
    believed = set()
    for position in range(8 * len(data)):
        try:
            believed.add(StageRecord.from_json(flipped(data, position)).model_dump_json())
        except ValueError:
            continue
    assert believed <= {record.model_dump_json()}, "what says the same may stay"


def test_no_shortened_record_is_believed(ledger: Ledger) -> None:
    finish(ledger, "f1")
    data = ledger.directory("sft", "f1").read_bytes("record.json").strip()
    for size in range(len(data)):
        with pytest.raises(ValueError):  # noqa: PT011 - of the parser or of the record
            StageRecord.from_json(data[:size])


def test_a_record_of_a_time_without_digests_is_believed_where_it_makes_its_fingerprint(
    ledger: Ledger,
) -> None:
    recipe: dict[str, object] = {
        "rate": 1e-05,
        "share": 1.0,
        "steps": 3,
        "big": 1e22,
        "small": 5e-324,
        "none": None,
    }
    inputs = {"corpus": "c"}
    identity = fingerprint("sft", 1, recipe, inputs)
    ledger.directory("sft", identity).write_bytes("notes", b"n")
    old = make_record(ledger, identity).model_copy(update={"recipe": recipe, "inputs": inputs})
    data = (old.model_dump_json(indent=2) + "\n").encode()  # as it was written then

    assert StageRecord.from_json(data) == old
    for before, after in ((b"5e-324", b"1e-323"), (b'"corpus": "c"', b'"corpus": "b"')):
        assert before in data
        with pytest.raises(ValueError, match="its fingerprint is"):
            StageRecord.from_json(data.replace(before, after))


def test_a_damaged_file_behind_a_link_out_of_the_artifact_is_not_deleted(
    ledger: Ledger, tmp_path: Path
) -> None:
    victim = tmp_path / "victim" / "thesis"
    victim.parent.mkdir()
    victim.write_text("years of work")
    finish(ledger, "f1")
    folder = Path(ledger.directory("sft", "f1").url)
    (folder / "link").symlink_to(victim.parent)
    rewrite(ledger, "f1", lambda record: record["files"][0].update(path="link/thesis"))
    record = ledger.find("sft", "f1")
    assert record is not None

    ledger.discard(record, ledger.verify(record))

    assert victim.read_text() == "years of work"
    assert ledger.find("sft", "f1") is None


def test_a_folder_that_a_record_calls_a_file_is_kept(ledger: Ledger) -> None:
    finish(ledger, "f1")
    rewrite(ledger, "f1", lambda record: record["files"][0].update(path="model"))
    record = ledger.find("sft", "f1")
    assert record is not None

    ledger.discard(record, ledger.verify(record))

    assert ledger.directory("sft", "f1").read_bytes("model/weights") == b"0123456789"


@pytest.fixture
def referred(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "weights"
    path.parent.mkdir()
    path.write_bytes(b"released")
    return path


def refer(ledger: Ledger, url: str) -> StageRecord:
    """Finish an artifact that refers to a file with the bytes `released`."""
    finish(ledger, "f1")
    sha256 = hashlib.sha256(b"released").hexdigest()
    reference = {"url": url, "size": 8, "sha256": sha256}
    rewrite(ledger, "f1", lambda record: record.update(references=[reference]))
    record = ledger.find("sft", "f1")
    assert record is not None
    return record


def test_a_file_that_an_artifact_refers_to_is_verified_with_it(
    ledger: Ledger, referred: Path
) -> None:
    record = refer(ledger, str(referred))
    assert ledger.verify(record) == []
    referred.write_bytes(b"releasee")
    (damage,) = ledger.verify(record)
    assert (damage.path, damage.problem) == (
        str(referred),
        "its sha256 differs from the recorded one",
    )
    referred.unlink()
    assert [damage.problem for damage in ledger.verify(record)] == ["missing"]


def test_a_file_that_an_artifact_refers_to_is_never_deleted(ledger: Ledger, referred: Path) -> None:
    """Nor is a file of the artifact that a reference names."""
    inside = ledger.directory("sft", "f1").path("model/weights")
    for url in (str(referred), inside):
        record = refer(ledger, url)
        referred.write_bytes(b"changed")
        assert ledger.verify(record) != []

        ledger.discard(record, ledger.verify(record))

        assert ledger.find("sft", "f1") is None
        assert referred.read_bytes() == b"changed"
        assert ledger.directory("sft", "f1").read_bytes("model/weights") == b"0123456789"


@pytest.mark.parametrize(
    "url",
    ["weights", "../weights", "", "zip://a::s3://b", "/a::s3://b", "ssh://host/file", "/a\nb"],
)
def test_a_reference_that_is_no_plain_file_makes_no_record(ledger: Ledger, url: str) -> None:
    finish(ledger, "f1")
    reference = {"url": url, "size": 1, "sha256": "0" * 64}
    rewrite(ledger, "f1", lambda record: record.update(references=[reference]))
    assert ledger.find("sft", "f1") is None


def test_a_record_without_references_is_written_as_before(ledger: Ledger) -> None:
    finish(ledger, "f1")
    record = json.loads(ledger.directory("sft", "f1").read_text("record.json"))
    assert list(record) == [
        "stage", "version", "fingerprint", "recipe", "inputs", "library_versions", "files",
        "counts", "seconds", "tracking_run", "finished_at", SEAL,
    ]  # fmt: skip
