"""torch's process group on one machine: the workers meet in a file and talk over loopback.

Ray Train's own way is a TCPStore in the first worker, which listens on every address of the
machine and answers whoever connects. Imported where a training group starts, because it needs Ray
and torch.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ray.train import get_context
from ray.train.torch import TorchConfig
from torch import distributed

_TorchBackend: Any = TorchConfig().backend_cls


@dataclass
class OneMachine(TorchConfig):  # type: ignore[misc]
    """torch's process group of workers that all run on this machine."""

    rendezvous: str = ""
    """Path of a file in an existing folder, which no other group has used."""

    @property
    def backend_cls(self) -> type[Any]:
        """Class with which Ray Train starts and ends the group."""
        return _OneMachineBackend


class _OneMachineBackend(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: OneMachine) -> None:
        worker_group.execute(_join, backend_config)


def _join(config: OneMachine) -> None:
    """Make this worker a member of the group."""
    context = get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    # What torchrun sets too: libraries take the worker's device from it.
    ranks = {"RANK": rank, "LOCAL_RANK": context.get_local_rank(), "NODE_RANK": 0}
    sizes = {"WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    os.environ.update(loopback | {name: str(n) for name, n in (ranks | sizes).items()})
    distributed.init_process_group(
        config.backend,
        store=distributed.FileStore(config.rendezvous, world_size),  # type: ignore[attr-defined]
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=config.timeout_s),
    )
