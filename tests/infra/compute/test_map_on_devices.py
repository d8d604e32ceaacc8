"""Work of the network goes where the profile's accelerators are."""

import sys
from functools import partial
from pathlib import Path

import pytest

from infra.compute.in_process import InProcess
from infra.compute.on_ray import OnRay
from infra.compute.resources import Resources


def device_and_gpus(device: str, item: int) -> tuple[str, int, int]:
    import ray

    return device, item, len(ray.get_gpu_ids())


def test_work_of_the_network_runs_on_the_cpu_in_this_process() -> None:
    assert list(InProcess().map_on_devices(lambda *given: given, [1, 2])) == [
        ("cpu", 1), ("cpu", 2)
    ]  # fmt: skip


@pytest.mark.drill
def test_ray_gives_work_of_the_network_the_gpus_of_a_worker_and_other_work_none(
    tmp_path: Path,
) -> None:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with_gpus = OnRay(Resources(num_cpus=2, gpus_per_worker=1), "", tmp_path)
        results = with_gpus.map_on_devices(device_and_gpus, [1, 2, 3])
        assert sorted(results) == [("cuda", 1, 1), ("cuda", 2, 1), ("cuda", 3, 1)]
        without = with_gpus.map(partial(device_and_gpus, "any"), [1])
        assert list(without) == [("any", 1, 0)]
        on_cpus = OnRay(Resources(num_cpus=2), "", tmp_path)
        assert list(on_cpus.map_on_devices(device_and_gpus, [1])) == [("cpu", 1, 0)]
    finally:
        ray.shutdown()
