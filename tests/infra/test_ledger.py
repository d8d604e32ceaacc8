"""The ledger: an artifact is done when its record is there and its files verify."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.stage_record import StageRecord
from infra.ledger import Ledger, LockError
from infra.storage.store import Store
from tests.support.users import as_user

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
        with ledger.lock("sft", "f1", on_wait=lambda: pytest.fail("it waits")):
            pass


def test_locks_of_different_artifacts_do_not_meet(ledger: Ledger) -> None:
    with (
        ledger.lock("sft", "f1"),
        ledger.lock("sft", "f2", on_wait=lambda: pytest.fail("it waits")),
        ledger.lock("dpo", "f1", on_wait=lambda: pytest.fail("it waits")),
    ):
        pass


@pytest.mark.parametrize("url", ["store", "memory://bucket/store"])
def test_the_second_waits_until_the_first_ends_and_says_so(tmp_path: Path, url: str) -> None:
    store = Store(url if "://" in url else str(tmp_path / url))
    events: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with Ledger(store, tmp_path / "locks").lock("sft", "f1", waits.set):
            events.append("second")

    thread = threading.Thread(target=second)
    with Ledger(store, tmp_path / "locks").lock("sft", "f1"):
        thread.start()
        assert waits.wait(300)
        events.append("first ends")
    thread.join(timeout=300)
    assert events == ["first ends", "second"]


def test_kill_9_in_another_home_and_temporary_folder_frees_the_lock(
    ledger: Ledger, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-c", HOLD_LOCK, str(tmp_path / "store"), str(tmp_path / "other locks"),
    ]  # fmt: skip
    holder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    waited = []
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def kill() -> None:
            waited.append(True)
            holder.kill()

        with ledger.lock("sft", "f1", on_wait=kill):
            assert holder.wait(timeout=300) == -signal.SIGKILL
        assert waited == [True]
    finally:
        holder.kill()
        holder.wait()


def test_nothing_of_a_lock_is_left(ledger: Ledger, tmp_path: Path) -> None:
    remote = Ledger(Store("memory://bucket/store"), tmp_path / "locks")
    with ledger.lock("sft", "f1"), remote.lock("sft", "f1"):
        pass
    assert [path for path in tmp_path.rglob("*") if path.name not in ("store", "sft")] == [
        tmp_path / "locks"
    ]


def test_another_user_waits_for_the_same_lock_and_reads_what_was_made(
    ledger: Ledger, tmp_path: Path
) -> None:
    def is_locked_by_another() -> bool:
        with pytest.raises(_WaitsError), ledger.lock("sft", "f1", on_wait=_raise_waits):
            pass
        return True

    def reads_it_under_the_lock() -> bool:
        with ledger.lock("sft", "f1", on_wait=_raise_waits):
            record = ledger.find("sft", "f1")
            return record is not None and ledger.verify(record) == []

    with ledger.lock("sft", "f1"):
        finish(ledger, "f1")
        assert as_user(65534, tmp_path / "store", is_locked_by_another)
    assert as_user(65534, tmp_path / "store", reads_it_under_the_lock)


@pytest.mark.parametrize("umask", [0o22, 0o77])
def test_users_of_a_store_shared_by_setgid_make_artifacts_beside_and_after_one_another(
    ledger: Ledger, tmp_path: Path, umask: int
) -> None:
    group, first, second = 4321, 4322, 4323
    store = tmp_path / "store"
    store.mkdir()
    os.chown(store, first, group)
    store.chmod(0o2775)

    def begins() -> bool:
        with ledger.lock("sft", "f1"):
            ledger.directory("sft", "f1").write_bytes("scratch/states/1", b"half")
        return True

    def finishes() -> bool:
        for fingerprint in ("f1", "f2"):
            with ledger.lock("sft", fingerprint, on_wait=_raise_waits):
                finish(ledger, fingerprint)
        return True

    assert as_user(first, tmp_path, begins, group, umask)
    assert as_user(second, tmp_path, finishes, group)
    assert ledger.directory("sft", "f1").list_keys() == ["model/weights", "notes", "record.json"]


def test_a_store_that_this_user_can_not_write_is_named_with_the_remedy(
    ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()

    def is_told() -> bool:
        with pytest.raises(LockError, match=r"Permission denied.*Q2A_STORE"):
            ledger.lock("sft", "f1").__enter__()
        return True

    assert as_user(65534, tmp_path / "store", is_told)


class _WaitsError(Exception):
    pass


def _raise_waits() -> None:
    raise _WaitsError


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
        "counts", "seconds", "tracking_run", "finished_at",
    ]  # fmt: skip


def rewrite(ledger: Ledger, fingerprint: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a finished record as somebody with access to the store could."""
    directory = ledger.directory("sft", fingerprint)
    record = json.loads(directory.read_text("record.json"))
    change(record)
    directory.write_text("record.json", json.dumps(record))
