"""Hardware that a plan assumes: how fast, how large and how expensive one worker's is."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from data_contracts.recipe import Recipe

Accelerator = Literal["cpu", "H100", "H200", "A100-80GB", "A100-40GB", "L40S", "L4", "RTX 4090"]
GIB = 1 << 30
"""Bytes of one GiB."""


@dataclass(frozen=True)
class AcceleratorSpecs:
    """Numbers of one accelerator, from its maker's data sheet."""

    bfloat16: float
    """Dense operations per second with sums in float32."""
    float32: float
    """Operations per second without tensor cores, which torch leaves off in float32."""
    bandwidth: float
    """Bytes of memory per second."""
    memory_gib: float
    """GiB that a process finds free on an idle one."""


ACCELERATORS: dict[Accelerator, AcceleratorSpecs] = {
    "H100": AcceleratorSpecs(989e12, 67e12, 3.35e12, 79),
    "H200": AcceleratorSpecs(989e12, 67e12, 4.8e12, 139),
    "A100-80GB": AcceleratorSpecs(312e12, 19.5e12, 2.04e12, 79),
    "A100-40GB": AcceleratorSpecs(312e12, 19.5e12, 1.56e12, 39),
    "L40S": AcceleratorSpecs(362e12, 91.6e12, 0.864e12, 44),
    "L4": AcceleratorSpecs(121e12, 30.3e12, 0.3e12, 22),
    "RTX 4090": AcceleratorSpecs(165e12, 82.6e12, 1.01e12, 23),
}


class Hardware(Recipe):
    """What one worker runs on. Only `q2a plan` reads it."""

    accelerator: Accelerator = "cpu"
    """Accelerator of a worker: its peak is in a table; that of "cpu" is measured by the plan."""
    memory_per_worker_gib: float | None = Field(None, gt=0)
    """GiB of memory that a worker may use, above 0; null: all of the accelerator's."""
    share_of_peak: float = Field(0.4, gt=0, le=1)
    """Share of the peak that training is assumed to reach, above 0 and at most 1. Every training
    run logs its own."""
    price_per_gpu_hour: float | None = Field(None, ge=0)
    """Price of one GPU for an hour, in `currency`; null: no cost is estimated."""
    currency: str = "USD"
    """Currency of the price, as the plan prints it."""

    @property
    def memory_gib(self) -> float | None:
        """GiB that a worker may use; None where neither profile nor table has a number."""
        if self.memory_per_worker_gib is not None or self.accelerator == "cpu":
            return self.memory_per_worker_gib
        return ACCELERATORS[self.accelerator].memory_gib
