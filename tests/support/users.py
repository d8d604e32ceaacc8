"""Another user of this machine, which only root can become."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest


def as_user(
    user: int, folder: Path, action: Callable[[], bool], group: int | None = None, umask: int = 0o22
) -> bool:
    """Return what `action` returns in a child process of another user; skip where it can't be.

    Args:
        user: numeric id, also of the group where `group` is None.
        folder: its parents are made readable for others, as pytest's folders are not.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for parent in [folder, *folder.parents]:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgroups([])
            os.setgid(user if group is None else group)
            os.setuid(user)
            os.umask(umask)
            code = 0 if action() else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), "the other user's action failed"
    return code == 0
