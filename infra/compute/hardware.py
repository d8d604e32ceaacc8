"""What a plan assumes of the machines: how fast, how large and how expensive one worker's is."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from data_contracts.recipe import Recipe

Accelerator = Literal["cpu", "H100", "H200", "A100-80GB", "A100-40GB", "L40S", "L4", "RTX 4090"]
GIB = 1 << 30


@dataclass(frozen=True)
class Accelerated:
    """One accelerator, as its maker states it."""

    bfloat16: float
    """Dense operations a second, sums in float32."""
    float32: float
    """Operations a second without tensor cores, which torch leaves off in float32."""
    bandwidth: float
    """Bytes a second."""
    memory_gib: float
    """What a process finds free on an idle one."""


ACCELERATORS: dict[Accelerator, Accelerated] = {
    "H100": Accelerated(989e12, 67e12, 3.35e12, 79),
    "H200": Accelerated(989e12, 67e12, 4.8e12, 139),
    "A100-80GB": Accelerated(312e12, 19.5e12, 2.04e12, 79),
    "A100-40GB": Accelerated(312e12, 19.5e12, 1.56e12, 39),
    "L40S": Accelerated(362e12, 91.6e12, 0.864e12, 44),
    "L4": Accelerated(121e12, 30.3e12, 0.3e12, 22),
    "RTX 4090": Accelerated(165e12, 82.6e12, 1.01e12, 23),
}


class Hardware(Recipe):
    """What one worker runs on. Nothing but `q2a plan` reads it."""

    accelerator: Accelerator = "cpu"
    """Its peak is taken from a table; that of "cpu" is measured where the plan is made."""
    memory_per_worker_gib: float | None = Field(None, gt=0)
    """What a worker may use; None: all of the accelerator's."""
    share_of_peak: float = Field(0.4, gt=0, le=1)
    """Share of the peak that training is assumed to reach. Every training run logs its own."""
    price_per_gpu_hour: float | None = Field(None, ge=0)
    """Of one GPU, in `currency`; None: no cost is stated."""
    currency: str = "USD"

    @property
    def memory_gib(self) -> float | None:
        """What a worker may use; None where nobody says so."""
        if self.memory_per_worker_gib is not None or self.accelerator == "cpu":
            return self.memory_per_worker_gib
        return ACCELERATORS[self.accelerator].memory_gib
