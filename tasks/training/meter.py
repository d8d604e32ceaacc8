"""Measures a training: losses and counts summed over workers, rates, memory of the GPU."""

import time
from collections.abc import Mapping
from contextlib import suppress

import torch
from torch import distributed

from infra.compute.interface import Worker


class Meter:
    """Adds up losses and counts over workers and steps, and times them."""

    def __init__(self, worker: Worker, window: Mapping[str, float], peak: float) -> None:
        """`window`: that of another meter; `peak`: operations a second that one worker can do."""
        self._worker = worker
        self._peak = peak * worker.world_size
        self._sums = dict(window)
        self._since = time.perf_counter() - self._sums.pop("seconds", 0.0)

    @property
    def window(self) -> dict[str, float]:
        """Return the sums since the last reading, from which another meter can go on."""
        return self._sums | {"seconds": time.perf_counter() - self._since}

    @property
    def has_steps(self) -> bool:
        """Tell whether a step was added since the last reading."""
        return bool(self._sums)

    def add(self, step: Mapping[str, float]) -> None:
        """Add a step's sums over all workers."""
        for name, value in step.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def read(self) -> dict[str, float]:
        """Return the averages since the last reading, and begin anew."""
        sums = self.window
        self._sums, self._since = {}, time.perf_counter()
        seconds, weight, positions = (sums.pop(name) for name in ("seconds", "weight", "tokens"))
        flops = sums.pop("flops")
        # What was measured on a busy machine can be less than what the machine does later.
        self._peak = max(self._peak, flops / seconds)
        metrics = {
            "loss": sums.pop("loss") / weight,
            "padding_waste": sums.pop("padding_tokens") / positions,
            "tokens_per_second": positions / seconds,
            "audio_seconds_per_second": sums.pop("audio_seconds") / seconds,
            "teraflops_per_second": flops / seconds / 1e12,
            "share_of_peak": flops / seconds / self._peak,
            "data_wait_share": sums.pop("data_wait") / seconds / self._worker.world_size,
        }
        return metrics | {name: value / weight for name, value in sums.items()}


def add_over_workers(values: Mapping[str, float], worker: Worker) -> dict[str, float]:
    """Add values over all workers, in float64; every worker has the same names."""
    names = sorted(values)
    totals = torch.tensor([values[name] for name in names], dtype=torch.float64)
    if worker.world_size > 1:
        totals = totals.to(worker.device)
        distributed.all_reduce(totals)
    return dict(zip(names, totals.tolist(), strict=True))


def gpu_metrics(device: str) -> dict[str, float]:
    """Measure the highest memory since the last call, in GiB, and utilisation now, 0 to 1."""
    if not device.startswith("cuda"):
        return {}
    metrics = {"gpu_memory_gib": torch.cuda.max_memory_allocated(device) / 2**30}
    torch.cuda.reset_peak_memory_stats(device)
    # NVIDIA's management library is an extra, and refuses in its own ways what a card can't tell.
    with suppress(Exception):
        metrics["gpu_utilisation"] = torch.cuda.utilization(torch.device(device)) / 100
    return metrics
