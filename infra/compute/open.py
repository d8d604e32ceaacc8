"""Opens the compute that a profile names."""

from collections.abc import Callable
from pathlib import Path

from infra.compute.in_process import InProcess
from infra.compute.interface import Compute
from infra.compute.resources import Resources


def open_compute(
    resources: Resources,
    address: str,
    scratch: Path,
    say: Callable[[str], None] = print,
    omp_num_threads: str = "1",
) -> Compute:
    """The backend that the profile names; `say` is told about what goes wrong and on."""
    if resources.backend == "process":
        return InProcess()
    from infra.compute.on_ray import OnRay

    return OnRay(resources, address, scratch, say, omp_num_threads)
