"""Folders on this machine that several users may share."""

import stat
from contextlib import suppress
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, writable for a group that shares the one above.

    A folder is shared with its group by the setgid bit (`chmod g+rwxs`). The system hands this bit
    and the group down to new folders, but takes the group's right to write by the umask.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)  # another process may have made it in between
    above = folder.parent.stat().st_mode
    if above & stat.S_ISGID:
        with suppress(PermissionError):  # another user made it, and did the same
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | above & stat.S_IRWXG)
