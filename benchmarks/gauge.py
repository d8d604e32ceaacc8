"""Time and memory of work on one device, and what the device could do at best."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

_NOMINAL = {
    "H100 PCIe": (756e12, 2.0e12),
    "H100 NVL": (835e12, 3.9e12),
    "H100": (989e12, 3.35e12),
    "H200": (989e12, 4.8e12),
    "A100": (312e12, 2.0e12),
}
"""Dense bfloat16 operations and bytes a second, as stated by the maker. The first name that occurs
in the device's is taken.
"""
_COPIED_BYTES = {"cuda": 1 << 30, "cpu": 1 << 24}
_WARM_UP = 2


@dataclass(frozen=True)
class Measured:
    """One piece of work."""

    seconds: float
    """Median of the rounds."""
    peak_bytes: int | None
    """Most memory that was taken at a time, with what was there before; None on a CPU."""


def largest_fitting(fits: Callable[[int], bool], most: int) -> int:
    """Largest number up to `most` that fits, 0 for none: doubled, then halved in between."""
    best, beyond, candidate = 0, most + 1, 1
    while best < candidate < beyond:
        if fits(candidate):
            best = candidate
        else:
            beyond = candidate
        candidate = min(2 * best, most) if beyond > most else (best + beyond) // 2
    return best


class Gauge:
    """Measures on `device`."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device = device
        self.rounds = rounds
        self.name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        stated = [found for name, found in _NOMINAL.items() if name in self.name]
        self.nominal_flops = stated[0][0] if stated else None
        self.nominal_bandwidth = stated[0][1] if stated else None

    def measure(self, work: Callable[[], Any]) -> Measured | None:
        """Run `work` a few times; None where it does not fit into the memory."""
        seconds: list[float] = []

        def rounds() -> None:
            for _ in range(_WARM_UP):
                work()
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            seconds.extend(self._seconds(work) for _ in range(self.rounds))

        if not self.fits(rounds):
            return None
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        return Measured(median(seconds), peak)

    def fits(self, work: Callable[[], Any]) -> bool:
        """Run `work` once: is the memory large enough?"""
        try:
            work()
            self._wait()
        except torch.OutOfMemoryError:
            return False
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def bandwidth(self) -> float:
        """Bytes a second that a large copy reads and writes."""
        count = _COPIED_BYTES[self.device.type]
        source = torch.zeros(count, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        copied = self.measure(lambda: target.copy_(source))
        assert copied is not None
        return 2 * count / copied.seconds

    def _seconds(self, work: Callable[[], Any]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
