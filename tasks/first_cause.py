"""What ends one worker of a group ends all of them; each names what came first.

A worker that fails writes its error down before its process ends and its connections close. So a
worker that then fails because the other has gone finds the cause already there.
"""

from collections.abc import Callable
from contextlib import suppress

from torch import distributed

from infra.compute import Worker
from infra.store import Store

_FOLDER = "scratch/failed"


class OtherWorkerError(RuntimeError):
    """Another worker of the group failed before this one."""


def run_naming_first_cause(
    directory: Store, loop: Callable[[Worker], None], worker: Worker
) -> None:
    """Run `loop` as one worker of a group.

    Args:
        directory: which all workers share.

    Raises:
        OtherWorkerError: another worker failed first; names it and its error. A worker that was
            killed leaves no word: then the lost connection itself is the error.
    """
    if worker.world_size == 1:
        return loop(worker)
    if worker.rank == 0:
        directory.delete(_FOLDER)
    distributed.barrier()
    try:
        return loop(worker)
    except Exception as error:
        for key in directory.list_keys(_FOLDER):
            rank = key.rsplit("/", 1)[1]
            raise OtherWorkerError(
                f"worker {worker.rank} ends because worker {rank} failed first: "
                f"{directory.read_text(key)}"
            ) from error
        with suppress(OSError):  # without a store, the error itself must get out
            directory.write_text(f"{_FOLDER}/{worker.rank}", f"{type(error).__name__}: {error}")
        raise
