"""The choice of compute: the backend that a profile names."""

from collections.abc import Callable
from pathlib import Path

from infra.compute.in_process import InProcess
from infra.compute.interface import Compute
from infra.compute.resources import Resources


def open_compute(
    resources: Resources,
    address: str,
    scratch: Path,
    progress: Callable[[str], None] = print,
    omp_num_threads: str = "1",
) -> Compute:
    """Open the backend that the profile names.

    Args:
        address: of the Ray cluster to join; empty: Ray is started on this machine.
        scratch: folder for files that no later run needs.
        progress: gets a line for each wait and each failure that is survived.
        omp_num_threads: threads that numerics use in each of Ray's workers.
    """
    if resources.backend == "process":
        return InProcess()
    # Ray is installed for it, but not imported where nothing runs on it.
    from infra.compute.on_ray import OnRay

    return OnRay(resources, address, scratch, progress, omp_num_threads)
