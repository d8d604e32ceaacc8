"""Locks of the operating system: they end with their process, also after kill -9.

What is locked is a folder, by `flock` on the folder itself. It needs no file that could be left
over or removed, no right to write, and nothing that all users of a machine would have to share.
Cleaners that delete old files keep a folder with new ones, and systemd's keep every locked folder.

Processes of one machine exclude each other: NFS leaves the locks of folders to each machine's
kernel. A file is locked for all machines there, by a lock of the server, which wants it open for
writing.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

from infra.storage.local_folders import make_folder

_POLL_SECONDS = 0.1
"""Between two attempts: a thread that waits in the system could not be interrupted."""


@contextmanager
def hold(folder: Path, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is missing, and deleted if it stays empty.

    Args:
        on_wait: function that is called once where another process or thread holds the lock.

    Raises:
        OSError: the folder can't be made or read, or its file system has no locks.
    """
    is_waiting = False
    while True:
        make_folder(folder)
        with try_hold(folder) as is_held:
            if is_held:
                try:
                    yield
                finally:
                    with suppress(OSError):  # there is something in it
                        folder.rmdir()
                return
        if not is_waiting:
            is_waiting = True
            on_wait()
        sleep(_POLL_SECONDS)


@contextmanager
def try_hold(path: Path) -> Iterator[bool]:
    """Hold the lock of an existing folder or file, if it is free; yield whether it is held.

    Raises:
        OSError: like `hold`.
    """
    descriptor = _open_locked(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)  # which ends the lock


def _open_locked(path: Path) -> int | None:
    is_writable = path.is_file() and os.access(path, os.W_OK)
    try:
        descriptor = os.open(path, os.O_RDWR if is_writable else os.O_RDONLY)
    except FileNotFoundError:
        return None
    is_held = False
    try:
        is_held = lock(descriptor) and _is_still_at(path, descriptor)
    finally:
        if not is_held:
            os.close(descriptor)
    return descriptor if is_held else None


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; return False where another has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still_at(path: Path, descriptor: int) -> bool:
    """Return whether nobody deleted or replaced the path between its opening and its locking."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
