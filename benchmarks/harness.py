"""How a row of the goals table is measured and judged.

Ours and the reference take turns in one process, and what counts is the median of the ratios of
the rounds, in CPU time of the process: a shared machine slows both sides of a round alike.
"""

import ctypes
import gc
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

Work = Callable[[], Any]

NUM_THREADS = 1
"""Of a benchmark's process: on a shared machine two threads measure the neighbours."""

_GB = 1e9
_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"
"""Written into `clear_refs`, it sets the peak of the resident memory to what is resident now."""


@dataclass(frozen=True)
class Condition:
    """What must hold: `value` stands in `relation` to `limit`."""

    name: str
    value: float
    relation: Literal["<=", ">="]
    limit: float

    @property
    def holds(self) -> bool:
        """False for NaN too."""
        return self.value <= self.limit if self.relation == "<=" else self.value >= self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.value:.2g} ({self.relation} {self.limit:.2g})"


@dataclass(frozen=True)
class Race:
    """Medians over rounds."""

    ours: float
    """CPU seconds."""
    reference: float
    """CPU seconds."""
    ratio: float
    """How many times as long the reference takes: the median of the rounds' ratios."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    work: str
    """What both sides did: sizes and shapes."""
    race: Race
    goal: float | None
    """The least ratio; None where another condition is the goal."""
    stretch: float | None
    conditions: tuple[Condition, ...]

    @property
    def missed(self) -> list[str]:
        """A sentence for everything that does not hold."""
        wanted = list(self.conditions)
        if self.goal is not None:
            wanted.insert(0, Condition("the ratio", self.race.ratio, ">=", self.goal))
        return [
            f"{self.name}: {condition.name} is {condition.value:.3g}, must be "
            f"{condition.relation} {condition.limit:.3g}."
            for condition in wanted
            if not condition.holds
        ]


def race(ours: Work, reference: Work, seconds: float = 15.0, least_rounds: int = 5) -> Race:
    """Warm both up, then let them take turns for about `seconds` of CPU time."""
    ours()
    reference()
    rounds: list[tuple[float, float]] = []
    start = time.process_time()
    while len(rounds) < least_rounds or time.process_time() - start < seconds:
        rounds.append((cpu_seconds(ours), cpu_seconds(reference)))
    return Race(
        ours=median(mine for mine, _ in rounds),
        reference=median(theirs for _, theirs in rounds),
        ratio=median(theirs / mine for mine, theirs in rounds),
    )


def cpu_seconds(work: Work) -> float:
    """CPU time of the whole process during `work`."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_bytes(work: Work) -> int:
    """How far the memory of this process grows during `work`, as Linux accounts it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before would be taken again unseen
    before = _status("VmRSS")
    (_PROCESS / "clear_refs").write_text(_RESET_PEAK)
    work()
    return _status("VmHWM") - before


def memory_row(name: str, work: str, ours: Work, reference: Work, least: float) -> Row:
    """How many times as much memory the reference takes, at least `least` times.

    For a process that returns what it frees (`isolation.with_memory_returned`): in one that keeps
    it, holes between tensors decide, and the ratio differs from run to run.
    """
    once = race(ours, reference, seconds=0.0, least_rounds=1)
    mine, theirs = peak_bytes(ours), peak_bytes(reference)
    return Row(
        name=f"{name}, memory",
        work=f"{work}; {mine / _GB:.2f} GB against {theirs / _GB:.2f} GB",
        race=once,
        goal=None,
        stretch=None,
        conditions=(Condition("memory ratio", theirs / mine, ">=", least),),
    )


def peak_anonymous_bytes(work: Work) -> int:
    """The same without pages of mapped files, which Linux takes back when it needs them.

    The kernel keeps no peak of these: a thread looks every 5 ms.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = peak = _status("RssAnon")
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, _status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak - before


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", (_PROCESS / "status").read_text())
    assert found is not None
    return 1024 * int(found[1])
