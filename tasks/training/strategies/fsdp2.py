"""FSDP2: parameters, gradients and moments in shares on all workers, by torch's fully_shard.

Every layer is gathered when it computes and let go afterwards; what belongs to no layer
(embeddings, head, projector, convolutions) is one more unit, gathered for the whole pass.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from infra.compute.interface import Worker
from tasks.training.objective import ObjectiveModule
from tasks.training.optimizer import build_optimizer, set_rate
from tasks.training.recipe import OptimizerRecipe
from tasks.training.state import Trained
from tasks.training.strategies.strategy import Strategy


class FullySharded(Strategy):
    """Shares everything; micro-batches of a step exchange their gradients one by one."""

    def __init__(
        self,
        objective: ObjectiveModule,
        recipe: OptimizerRecipe,
        worker: Worker,
        saved: Trained | None,
    ) -> None:
        mesh = init_device_mesh(torch.device(worker.device).type, (worker.world_size,))
        model = objective.model
        for layer in (*model.model.audio_tower.layers, *model.model.language_model.layers):
            fully_shard(layer, mesh=mesh)
        fully_shard(objective, mesh=mesh)
        super().__init__(objective, objective)
        self._rank = worker.rank
        self._clip_norm = recipe.clip_norm
        self._optimizer = build_optimizer(model, recipe)
        for name, values in saved["optimizer"].items() if saved is not None else ():
            self._optimizer.state[self._trained[name]] = {
                key: _share(value, self._trained[name]) if value.dim() else value.clone()
                for key, value in values.items()
            }

    def step(self, rate: float, accept: Callable[[float], bool]) -> float:
        set_rate(self._optimizer, rate)
        total = nn.utils.clip_grad_norm_(self._module.parameters(), self._clip_norm)
        norm = float(total.full_tensor() if isinstance(total, DTensor) else total)
        if accept(norm):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def _gather(self, parameter: nn.Parameter) -> tuple[Tensor | None, dict[str, Tensor]]:
        moments = self._optimizer.state[parameter]
        whole = {key: _whole(value) for key, value in moments.items()}
        weights = _whole(parameter)
        return (weights, whole) if self._rank == 0 else (None, {})


def _share(whole: Tensor, parameter: nn.Parameter) -> Tensor:
    """Return this worker's share of a tensor that is spread like `parameter`."""
    assert isinstance(parameter, DTensor)
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(whole, mesh, placements, src_data_rank=None).clone()


def _whole(tensor: Tensor) -> Tensor:
    """Gather a tensor on the CPU; every worker calls it."""
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().to("cpu", copy=True)
