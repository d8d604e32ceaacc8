"""What a worker's GPU does; nothing where there is none."""

from contextlib import suppress

import torch


def gpu_metrics(device: str) -> dict[str, float]:
    """Highest memory since the last call, in GiB, and utilisation of this moment, 0 to 1."""
    if not device.startswith("cuda"):
        return {}
    metrics = {"gpu_memory_gib": torch.cuda.max_memory_allocated(device) / 2**30}
    torch.cuda.reset_peak_memory_stats(device)
    # NVIDIA's management library is an extra, and refuses in its own ways what a card can't tell.
    with suppress(Exception):
        metrics["gpu_utilisation"] = torch.cuda.utilization(torch.device(device)) / 100
    return metrics
