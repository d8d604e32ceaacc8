"""Strategies with the whole model on every worker: one process, or DistributedDataParallel."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from infra.compute.interface import Worker
from tasks.training.objective import ObjectiveModule
from tasks.training.optimizer import build_optimizer, set_rate
from tasks.training.recipe import OptimizerRecipe
from tasks.training.state import Trained
from tasks.training.strategies.strategy import Strategy


class SingleProcess(Strategy):
    """One worker, which exchanges nothing."""

    def __init__(
        self,
        objective: ObjectiveModule,
        recipe: OptimizerRecipe,
        worker: Worker,
        saved: Trained | None,
    ) -> None:
        super().__init__(objective, self._wrap(objective.to(worker.device)))
        self._rank = worker.rank
        self._clip_norm = recipe.clip_norm
        self._optimizer = build_optimizer(objective.model, recipe)
        moments = saved["optimizer"] if saved is not None else {}
        for name, values in moments.items():
            self._optimizer.state[self._trained[name]] = {
                key: _as_kept(value, worker.device) for key, value in values.items()
            }

    def step(self, rate: float, accept: Callable[[float], bool]) -> float:
        set_rate(self._optimizer, rate)
        norm = float(nn.utils.clip_grad_norm_(self._module.parameters(), self._clip_norm))
        if accept(norm):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def _wrap(self, objective: ObjectiveModule) -> nn.Module:
        return objective

    def _gather(self, parameter: nn.Parameter) -> tuple[Tensor | None, dict[str, Tensor]]:
        if self._rank > 0:
            return None, {}
        moments = self._optimizer.state[parameter]
        return _copy(parameter), {key: _copy(torch.as_tensor(v)) for key, v in moments.items()}


class DataParallel(SingleProcess):
    """Every worker has a copy; gradients are averaged while the last micro-batch goes backward."""

    _module: DistributedDataParallel

    def _wrap(self, objective: ObjectiveModule) -> nn.Module:
        return DistributedDataParallel(objective)

    def _accumulating(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = self._module.no_sync()
        return context


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _as_kept(value: Tensor, device: str) -> Tensor | int:
    """Convert a value to the form in which optimizers keep it: step counts stay on the CPU."""
    if value.dim():
        return value.to(device, copy=True)
    return value.clone() if value.is_floating_point() else int(value)
