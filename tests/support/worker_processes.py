"""Training groups of real processes that talk through gloo on this machine, without Ray.

Run as a script, this file is one worker of a group.
"""

import os
import pickle
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from infra.compute.interface import Worker

ROOT = Path(__file__).parents[2]


class GroupFailedError(RuntimeError):
    """Some workers did not end well: `codes` by rank, and what each wrote."""

    def __init__(self, codes: list[int], logs: list[str]) -> None:
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
        paths = [str(ROOT), *(path for path in sys.path if path.startswith(str(ROOT)))]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        running = []
        for rank in range(self.num_workers):
            command = [sys.executable, __file__, str(place), str(rank), str(self.num_workers)]
            with (place / f"{rank}.log").open("w") as log:
                process = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=subprocess.STDOUT
                )
            running.append(process)
        try:
            codes = [process.wait(self.seconds) for process in running]
        finally:
            for process in running:
                process.kill()
        if any(codes):
            logs = [(place / f"{rank}.log").read_text() for rank in range(self.num_workers)]
            raise GroupFailedError(codes, logs)


def main(place: Path, rank: int, world_size: int) -> None:
    """One worker. It leaves without the interpreter's tidying up, in which gloo can hang."""
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
