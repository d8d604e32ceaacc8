"""Scratch folders of runs: the dead are known by their free lock, the living keep theirs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.run_folders import RunningError, remove_dead, run_folder

LIVE = """
import sys
from pathlib import Path
from infra.run_folders import run_folder
with run_folder(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "model").write_text("30 GB")
    print("begun", flush=True)
    sys.stdin.read()  # until it is killed
"""
DEAD, LIVING = "d" * 32, "a" * 32


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LIVE, str(tmp_path), DEAD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert list(remove_dead(tmp_path)) == []
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    with run_folder(tmp_path, LIVING) as living:
        assert list(remove_dead(tmp_path)) == [DEAD]
        assert list(tmp_path.iterdir()) == [living]
    assert list(tmp_path.iterdir()) == []


def test_a_dead_run_that_is_reported_but_not_removed_is_reported_again(tmp_path: Path) -> None:
    (tmp_path / DEAD).mkdir()
    (tmp_path / DEAD / "lock").touch()
    assert next(remove_dead(tmp_path)) == DEAD
    assert list(remove_dead(tmp_path)) == [DEAD]
    assert list(remove_dead(tmp_path)) == []


@pytest.mark.parametrize("name", ["states-0123456789abcdef", "mine", "A" * 32])
def test_folders_that_are_not_of_a_run_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "lock").touch()
    assert list(remove_dead(tmp_path)) == []
    assert (tmp_path / name).is_dir()


def test_a_living_run_whose_lock_a_cleaner_deleted_stays(tmp_path: Path) -> None:
    with run_folder(tmp_path, LIVING) as folder:
        (folder / "lock").unlink()
        assert list(remove_dead(tmp_path)) == []
        assert folder.is_dir()
    assert not folder.exists()


def test_a_run_that_is_under_way_is_not_begun_again(tmp_path: Path) -> None:
    with (
        run_folder(tmp_path, LIVING) as folder,
        pytest.raises(RunningError, match=f"{LIVING} is under way.*stop that process"),
        run_folder(tmp_path, LIVING),
    ):
        pass
    assert not folder.exists()


def test_an_error_inside_removes_the_folder_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path, LIVING):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
