"""The end of everything that a driver started, however the driver itself ends.

After SIGKILL a process can clean up nothing, and what it started lives on: servers, Ray's daemons.
So a tiny process, the reaper, waits in a session of its own for the driver's end and then ends
every process that carries the driver's mark in its environment, and all that descends from one. It
deletes the folders that the driver has named to it, too.

The reaper runs this file as a script: it has only the standard library, and no other module.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DRIVER_VARIABLE = "Q2A_DRIVER"
"""Environment variable that all processes carry which a driver started: its mark."""
GRACE_SECONDS = 3.0
"""Time that a process has between SIGTERM and SIGKILL."""
_GIVE_UP_SECONDS = 60.0
"""Time after which the reaper leaves processes alone that not even SIGKILL ends."""
_POLL_SECONDS = 0.1
_BLOCKED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Signals that stop a run: its driver obeys them, the reaper waits for the driver's end."""

_Process = tuple[int, str]
"""Id of a process and the time of its start: ids are used again."""


@dataclass(frozen=True)
class Reaper:
    """The process that ends what this one started, as this one sees it."""

    mark: str
    """Value of `Q2A_DRIVER` in the environment of all that this process starts."""
    _pipe: int
    """Write end of the reaper's pipe, which only this process holds until the kernel closes it."""

    def delete_at_end(self, folder: Path) -> None:
        """Delete a folder, if it is still there, when this process and all its own have ended."""
        os.write(self._pipe, f"{folder.absolute()}\n".encode())


def end_children_with_this_process() -> Reaper:
    """Mark every process that this one starts from now on, and end them all when this one ends.

    A second call returns the reaper of the first.
    """
    return _reaper_of(os.getpid())


@cache
def _reaper_of(driver: int) -> Reaper:
    mark = f"{driver}.{uuid.uuid4().hex}"
    read_end, write_end = os.pipe()
    os.register_at_fork(after_in_child=lambda: os.close(write_end))
    # The reaper inherits this mask, so from its first instruction on no signal of a whole group of
    # processes ends it: ignoring them in its own code would leave the time of Python's start.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, mark],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(read_end)
    os.environ[DRIVER_VARIABLE] = mark
    return Reaper(mark, write_end)


def marked_processes(mark: str) -> set[_Process]:
    """Return the living processes of this user that carry a mark, and all their descendants."""
    entry = f"{DRIVER_VARIABLE}={mark}".encode()
    marked: set[int] = set()
    starts: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    for process in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
        try:
            parent, starts[process] = _parent_and_start(process)
            children.setdefault(parent, []).append(process)
            if entry in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                marked.add(process)
        except OSError:
            continue  # it has ended, or is another user's
    # Ray's workers overwrite their environment with their title: they are found by their parents.
    waiting = list(marked)
    while waiting:
        new = set(children.get(waiting.pop(), [])) - marked
        marked |= new
        waiting += new
    return {(process, starts[process]) for process in marked - {os.getpid()}}


def _parent_and_start(process: int) -> tuple[int, str]:
    """Return a living process's parent and the time of its start.

    Raises:
        ProcessLookupError: it has ended, even if nobody has waited for it yet.
        FileNotFoundError: there is none of this id.
    """
    # The fields after the name, which is in parentheses and may hold anything.
    text = Path(f"/proc/{process}/stat").read_text(errors="replace")
    fields = text.rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError
    return int(fields[1]), fields[19]


def _lives(process: _Process) -> bool:
    try:
        return _parent_and_start(process[0])[1] == process[1]
    except OSError:
        return False


def _end_all(mark: str) -> None:
    """End the marked processes with SIGTERM, and after some time with SIGKILL."""
    began = time.monotonic()
    asked: set[_Process] = set()
    # Once asked, a process may have lost the parent by which it was found.
    while left := {process for process in asked if _lives(process)} | marked_processes(mark):
        late = time.monotonic() > began + GRACE_SECONDS
        for process, _ in left if late else left - asked:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
        if time.monotonic() > began + _GIVE_UP_SECONDS:
            break
        asked |= left
        time.sleep(_POLL_SECONDS)


def _main(mark: str) -> None:
    """Wait until the driver has ended, whatever ends it, then end what it started."""
    folders = sys.stdin.buffer.read().decode().splitlines()
    _end_all(mark)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main(sys.argv[1])
