"""Locks of folders and files: one holder on a machine, whatever cleaners, kills and users do."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.file_lock import hold, try_hold
from tests.support.users import as_user

HOLD = """
import sys
from pathlib import Path
from infra.file_lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()  # until it is killed
"""


@contextmanager
def holder_of(folder: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Start another process that holds the lock of a folder until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def is_free(path: Path) -> bool:
    with try_hold(path) as is_held:
        return is_held


def test_a_second_process_does_not_get_the_lock_before_the_first_was_killed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "artifact"
    with holder_of(folder) as holder:
        assert not is_free(folder)
        with hold(folder, on_wait=holder.kill):
            assert holder.wait(timeout=300) == -signal.SIGKILL


def test_another_folder_for_temporary_files_changes_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with holder_of(tmp_path / "artifact", TMPDIR=str(other)):
        assert not is_free(tmp_path / "artifact")
    assert list(other.iterdir()) == []


def test_a_second_thread_waits_until_the_first_ends(tmp_path: Path) -> None:
    events: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with hold(tmp_path / "artifact", waits.set):
            events.append("second")

    thread = threading.Thread(target=second)
    with hold(tmp_path / "artifact"):
        thread.start()
        assert waits.wait(300)
        events.append("first ends")
    thread.join(timeout=300)
    assert events == ["first ends", "second"]


def test_a_cleaner_that_deletes_every_file_lets_no_second_holder_in(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    with hold(folder):
        (folder / "old").write_text("weights")
        subprocess.run(["find", str(tmp_path), "-type", "f", "-delete"], check=True)
        assert list(folder.iterdir()) == []
        assert not is_free(folder)


def test_a_waiter_does_not_take_the_lock_of_a_folder_that_was_replaced(tmp_path: Path) -> None:
    """The first deletes the folder before its end; a third has locked the new one by then."""
    folder, moved = tmp_path / "artifact", tmp_path / "moved"
    entered = threading.Event()
    waits = threading.Event()

    def second() -> None:
        with hold(folder, waits.set):
            entered.set()

    thread = threading.Thread(target=second)
    with hold(folder):
        thread.start()
        assert waits.wait(300)
        folder.rename(moved)
        folder.mkdir()
        with try_hold(folder) as third:
            is_second_in = entered.wait(1)
    thread.join(timeout=300)
    assert third != is_second_in
    assert entered.is_set()


def test_an_empty_folder_is_gone_after_the_lock_and_a_used_one_stays(tmp_path: Path) -> None:
    with hold(tmp_path / "empty"), hold(tmp_path / "used"):
        (tmp_path / "used" / "file").write_text("kept")
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
    assert is_free(tmp_path / "used")


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mine"), hold(tmp_path / "artifact"):
        raise FileNotFoundError("mine")
    with pytest.raises(FileNotFoundError, match="mine"), try_hold(tmp_path):
        raise FileNotFoundError("mine")
    assert is_free(tmp_path)


def test_what_does_not_exist_is_not_held_and_not_made(tmp_path: Path) -> None:
    assert not is_free(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_locked_for_writing_as_nfs_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch(mode=0o666)
    with try_hold(path) as first, try_hold(path) as second:
        assert (first, second) == (True, False)
    assert is_free(path)


def test_a_folder_whose_name_leads_nowhere_is_an_error_instead_of_an_endless_wait(
    tmp_path: Path,
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(FileExistsError), hold(tmp_path / "link"):
        pass


def test_a_user_who_may_only_read_is_kept_out_by_the_same_lock(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir(mode=0o755)
    (folder / "record.json").touch()
    with hold(folder):
        assert as_user(65534, tmp_path, lambda: is_free(folder)) is False
    assert as_user(65534, tmp_path, lambda: is_free(folder)) is True


def test_a_user_without_the_right_to_make_the_folder_gets_the_error(tmp_path: Path) -> None:
    def is_refused() -> bool:
        with pytest.raises(PermissionError), hold(tmp_path / "artifact"):
            pass
        return True

    assert as_user(65534, tmp_path, is_refused)
