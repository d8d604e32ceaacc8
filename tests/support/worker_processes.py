"""Training groups of real processes that talk through gloo on this machine, without Ray."""

import multiprocessing
import os
import pickle
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from infra.compute.interface import Worker


class GroupFailedError(RuntimeError):
    """Some workers did not end well: `codes` by rank, and what each wrote."""

    def __init__(self, codes: list[int | None], logs: list[str]) -> None:
        super().__init__(f"exit codes {codes}\n" + "\n".join(logs))
        self.codes, self.logs = codes, logs


@dataclass(frozen=True)
class Processes:
    """Compute whose training groups are processes; one that hangs fails after `seconds`."""

    folder: Path
    num_workers: int
    seconds: float = 900

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """In this process."""
        return map(function, items)

    def map_on_devices(
        self, function: Callable[[str, Any], Any], items: Iterable[Any]
    ) -> Iterator[Any]:
        """In this process, on the CPU."""
        return map(partial(function, "cpu"), items)

    def fit(self, loop: Callable[[Worker], None]) -> None:
        """Start the group and wait for all of it.

        Raises:
            GroupFailedError: a worker failed.
        """
        place = self.folder / f"group-{uuid.uuid4().hex[:8]}"
        place.mkdir(parents=True)
        (place / "loop").write_bytes(pickle.dumps(loop))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        # Forks of one process that has imported all: an import takes longer than most groups live.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tasks.training.loop", "tasks.objectives.supervised"])
        running = [
            context.Process(target=main, args=(place, rank, self.num_workers, environment))
            for rank in range(self.num_workers)
        ]
        for process in running:
            process.start()
        try:
            give_up = time.monotonic() + self.seconds
            for process in running:
                process.join(max(0.0, give_up - time.monotonic()))
            codes = [process.exitcode for process in running]
        finally:
            for process in running:
                process.kill()
                process.join()
        if any(codes):
            logs = [(place / f"{rank}.log").read_text() for rank in range(self.num_workers)]
            raise GroupFailedError(codes, logs)


def main(place: Path, rank: int, world_size: int, environment: dict[str, str]) -> None:
    """One worker. It leaves without the interpreter's tidying up, in which gloo can hang."""
    log = os.open(place / f"{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.environ.update(environment)

    import torch
    from torch import distributed

    from infra.settings import read_settings

    read_settings()
    torch.set_num_threads(1)
    code = 0
    try:
        if world_size > 1:
            distributed.init_process_group(
                "gloo", init_method=f"file://{place}/rendezvous", rank=rank, world_size=world_size
            )
        pickle.loads((place / "loop").read_bytes())(Worker(rank, world_size))
        if world_size > 1:
            distributed.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
