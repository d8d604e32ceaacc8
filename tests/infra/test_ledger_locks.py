"""Who may write an artifact: one process at a time, of any user."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.ledger import Ledger, LockError
from infra.storage.store import Store
from tests.support.artifacts import finish
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
