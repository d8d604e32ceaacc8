"""Runs what Python would run, and holds it in the middle of a stage until a test lets it go on.

    python held_run.py PLACE FOLDER -c CODE ARGUMENTS...
    python held_run.py PLACE FOLDER SCRIPT ARGUMENTS...

So a run is disturbed where a test means to, on a fast machine and a slow one. Who comes to the
place, "ingest" or "pretrain", leaves a file `reached-RANK` in FOLDER and waits for `go-on`.
"""

import runpy
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from infra.settings import read_settings

read_settings()  # before libraries are imported, as every entry point does

from infra.compute.interface import Worker  # noqa: E402
from infra.storage.store import Store  # noqa: E402
from tasks.corpus import packing  # noqa: E402
from tasks.corpus.packing import PackedShard, Packing, ShardJob  # noqa: E402
from tasks.training import fit  # noqa: E402
from tasks.training.guards.stall import StallGuard  # noqa: E402
from tasks.training.job import TrainingJob  # noqa: E402
from tasks.training.loop import train  # noqa: E402

SHARD, STEP = 1, 15
"""What is not begun while a run is held."""


def hold(folder: Path, rank: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"reached-{rank}").touch()
    while not (folder / "go-on").exists():
        time.sleep(0.01)


def held_pack_shard(
    folder: Path,
    pack_shard: Callable[[Store, Packing, Sequence[str], ShardJob], PackedShard],
    directory: Store,
    parts: Packing,
    places: Sequence[str],
    job: ShardJob,
) -> PackedShard:
    if job.number == SHARD:
        hold(folder, 0)
    return pack_shard(directory, parts, places, job)


def held_train(
    folder: Path, train: Callable[[TrainingJob, Worker], None], job: TrainingJob, worker: Worker
) -> None:
    """In the worker's process, which may be one of Ray's."""
    beat = StallGuard.beat

    def held_beat(guard: StallGuard, step: int) -> None:
        beat(guard, step)
        if step == STEP and "/pretrain/" in job.directory.url:
            hold(folder, worker.rank)

    StallGuard.beat = held_beat  # type: ignore[assignment, method-assign]
    try:
        train(job, worker)
    finally:
        StallGuard.beat = beat  # type: ignore[method-assign]


def main(place: str, folder: Path, command: list[str]) -> None:
    if place == "ingest":
        packing.pack_shard = partial(held_pack_shard, folder, packing.pack_shard)
    else:
        fit.train = partial(held_train, folder, train)  # type: ignore[attr-defined]
    sys.path[0] = ""
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
