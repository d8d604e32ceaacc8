"""Stalls: no step for long. Every worker reports where its threads are, then the run ends."""

import faulthandler
import sys
import threading
import time
from contextlib import suppress
from tempfile import TemporaryFile
from types import TracebackType

from infra.compute.interface import Worker
from infra.retry import FinalError
from infra.storage.store import Store
from tasks.training.messages.notices import Notice, Notify

_STACKS = "scratch/stacks"
_GRACE_SECONDS = 10.0
"""For the other workers' stacks: they missed the same step at nearly the same time."""


class StallError(FinalError):
    """No step within the time that `resources.stall_seconds` allows."""


class StallGuard:
    """A thread that watches one worker's steps from the first `beat` to the context's end.

    It is no `infra.background.Periodic`, which is waited for at the end of its context: a guard
    that gives its worker up may itself wait for that end.
    """

    def __init__(self, seconds: float, worker: Worker, directory: Store, notify: Notify) -> None:
        self._seconds = seconds
        self._worker = worker
        self._directory = directory
        self._notify = notify
        self._ended = threading.Event()
        self._last: tuple[float, int] | None = None
        self._thread = threading.Thread(target=self._watch, name="stall guard", daemon=True)

    def __enter__(self) -> "StallGuard":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended.set()

    def beat(self, step: int) -> None:
        """Note that step `step` begins."""
        self._last = (time.monotonic(), step)

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._seconds / 4)):
            if self._last and time.monotonic() - self._last[0] > self._seconds:
                self._give_up(self._last[1])
                return

    def _give_up(self, step: int) -> None:
        rank = self._worker.rank
        what = f"worker {rank} is in step {step} for more than {self._seconds:g} s"
        folder = f"{_STACKS}/{step:08d}"
        # The store may be what stands still: the end comes even if no report gets through.
        reporting = threading.Thread(
            target=self._report, args=(step, what, folder), name="report of a stall", daemon=True
        )
        reporting.start()
        reporting.join(2 * _GRACE_SECONDS)
        if not self._ended.is_set():
            self._worker.give_up(
                StallError(
                    f"{what}. The log has the stacks of all workers, {folder} of the artifact too. "
                    "If steps may take longer, raise resources.stall_seconds."
                )
            )

    def _report(self, step: int, what: str, folder: str) -> None:
        rank, stacks = self._worker.rank, stacks_of_all_threads()
        print(f"{what}; its threads:\n{stacks}", file=sys.stderr, flush=True)
        self._notify(
            Notice(
                f"{what}; its threads:\n{stacks}",
                {f"q2a.stall.worker_{rank}": what},
                {f"stacks/step-{step:08d}-worker-{rank}.txt": stacks},
            )
        )
        with suppress(Exception):
            self._directory.write_text(f"{folder}/worker-{rank}.txt", stacks)
            waiting_since = time.monotonic()
            while (
                len(self._directory.list_keys(folder)) < self._worker.world_size
                and time.monotonic() - waiting_since < _GRACE_SECONDS
            ):
                time.sleep(0.1)


def stacks_of_all_threads() -> str:
    """Read where each thread of this process is."""
    with TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()
