"""Scratch folders of pipeline runs, by which a later start knows those whose process was killed.

A run's folder holds a file that is locked as long as its process lives, on any machine that shares
the folder. Without that file nobody can tell, and the folder stays.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import UsageError
from infra.file_lock import try_hold
from infra.storage.local_folders import make_folder

_LOCK = "lock"
_RUN_ID = re.compile("[0-9a-f]{32}")
"""What MLflow calls a run. Folders of other names may be anybody's."""


class RunningError(UsageError):
    """A pipeline run can't be continued, because it is under way."""


@contextmanager
def run_folder(scratch: Path, run_id: str) -> Iterator[Path]:
    """Make a run's folder for the time of a block, and keep it locked.

    Raises:
        RunningError: another process has it.
    """
    folder = scratch / run_id
    make_folder(folder)
    (folder / _LOCK).touch()
    with try_hold(folder / _LOCK) as is_held:
        if not is_held:
            raise RunningError(
                f"pipeline run {run_id} is under way: its process holds {folder / _LOCK}. Wait for "
                "its end or stop that process, then run this again"
            )
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_dead(scratch: Path) -> Iterator[str]:
    """Remove the folders of runs whose process ended without doing so; yield each run's id before.

    A kill in between leaves the folder, so the next start yields the id again.
    """
    for path in sorted(scratch.glob(f"*/{_LOCK}")):
        with try_hold(path) as is_held:
            if is_held and _RUN_ID.fullmatch(path.parent.name):
                yield path.parent.name
                shutil.rmtree(path.parent, ignore_errors=True)
