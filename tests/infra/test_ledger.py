"""The ledger: an artifact is done when its record is there and its files verify."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.sealed_json import seal, unseal
from data_contracts.stage_record import StageRecord, fingerprint
from infra.ledger import Ledger
from infra.storage.store import Store

HOLD_LOCK = """
import sys
from pathlib import Path
from infra.ledger import Ledger
from infra.storage.store import Store
ledger = Ledger(Store(sys.argv[1]), Path(sys.argv[2]))
with ledger.lock("sft", "f1"):
    print("held", flush=True)
    sys.stdin.read()  # until it is killed
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(str(tmp_path / "store")), tmp_path / "locks")


def make_record(ledger: Ledger, fingerprint: str, finished_at: str = "2026-01-01") -> StageRecord:
    return StageRecord(
        stage="sft",
        version=1,
        fingerprint=fingerprint,
        recipe={"steps": 3},
        inputs={"corpus": "c"},
        library_versions={},
        files=ledger.list_files("sft", fingerprint),
        counts={"records_in": 1, "records_out": 1, "rejected": 0},
        seconds=0.1,
        tracking_run="run",
        finished_at=finished_at,
    )


def finish(ledger: Ledger, fingerprint: str, finished_at: str = "2026-01-01") -> StageRecord:
    directory = ledger.directory("sft", fingerprint)
    directory.write_bytes("model/weights", b"0123456789")
    directory.write_bytes("notes", b"n")
    directory.write_bytes("scratch/half", b"h")
    record = make_record(ledger, fingerprint, finished_at)
    ledger.complete(record)
    return record


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


def test_a_free_lock_is_taken_without_waiting(ledger: Ledger) -> None:
    for _ in range(2):
        with ledger.lock("sft", "f1") as waited:
            assert waited is False


def test_locks_of_different_artifacts_do_not_meet(ledger: Ledger) -> None:
    with ledger.lock("sft", "f1"), ledger.lock("sft", "f2") as waited:
        assert waited is False


def test_the_second_waits_until_the_first_ends_and_knows_it(
    ledger: Ledger, when_a_lock_is_waited_for: Callable[[Callable[[], object]], None]
) -> None:
    events: list[object] = []
    waits = threading.Event()
    when_a_lock_is_waited_for(waits.set)

    def second() -> None:
        with ledger.lock("sft", "f1") as waited:
            events.append(("second", waited))

    thread = threading.Thread(target=second)
    with ledger.lock("sft", "f1"):
        thread.start()
        assert waits.wait(300)
        events.append("first ends")
    thread.join(timeout=300)
    assert events == ["first ends", ("second", True)]


def test_kill_9_frees_the_lock(
    ledger: Ledger,
    tmp_path: Path,
    when_a_lock_is_waited_for: Callable[[Callable[[], object]], None],
) -> None:
    command = [
        sys.executable, "-c", HOLD_LOCK, str(tmp_path / "store"), str(tmp_path / "locks"),
    ]  # fmt: skip
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        when_a_lock_is_waited_for(holder.kill)
        with ledger.lock("sft", "f1") as waited:
            assert waited is True
            assert holder.wait(timeout=300) == -signal.SIGKILL
    finally:
        holder.kill()
        holder.wait()


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


def rewrite(ledger: Ledger, fingerprint: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a finished record as somebody with access to the store could, its digest too."""
    directory = ledger.directory("sft", fingerprint)
    record = unseal(json.loads(directory.read_text("record.json")))
    change(record)
    directory.write_text("record.json", json.dumps(seal(record)))


def flipped(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)
