"""Interface of a strategy, and what all of them share.

A strategy places the model, the gradients and the optimizer's moments on the workers. It changes
no number: the same recipe gives the same losses under each of them, up to the order of sums.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import Qwen2AudioForConditionalGeneration

from tasks.training.objective import MicroBatch, ObjectiveModule, Question
from tasks.training.state import Trained

T = TypeVar("T")


class Strategy(ABC):
    """The model, its gradients and its optimizer on the workers. All workers call each method."""

    def __init__(self, objective: ObjectiveModule, module: nn.Module) -> None:
        """`module` is what is called to compute the objective: itself, or what wraps it."""
        self._module = module
        # FSDP2 keeps shares in the modules, but between a question and the next backward pass.
        self._trained = trained_parameters(objective.model)

    def backward(self, batches: Sequence[MicroBatch], scale: float) -> dict[str, float]:
        """Compute the gradient of `scale` times the sum of all losses, as a mean over the workers.

        Args:
            batches: this worker's; every worker has equally many.

        Returns:
            This worker's sums over its batches: `loss` (not scaled), `weight`, and its counts.
        """
        sums: dict[str, float] = {"weight": sum(batch.weight for batch in batches)}
        losses = []
        for index, batch in enumerate(batches):
            with self._accumulating() if index + 1 < len(batches) else nullcontext():
                loss, counts = self._module(batch)
                self._backward(loss * scale)
            losses.append(loss.detach())
            for name, value in counts.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums | {"loss": float(torch.stack(losses).sum())}

    @torch.no_grad()
    def loss(self, batch: MicroBatch) -> float:
        """Compute the loss of a micro-batch on this worker, without a gradient."""
        loss, _ = self._module(batch)
        return float(loss)

    @torch.no_grad()
    def ask(self, question: Question[T]) -> T:
        """Call a function of the model; every worker asks the same question."""
        answer: T = self._module(question)
        return answer

    @abstractmethod
    def step(self, rate: float, accept: Callable[[float], bool]) -> float:
        """Clip the gradient, change the weights, forget the gradient.

        Args:
            rate: learning rate, before the factors of the parameter groups.
            accept: called with the norm; where it returns False, the weights stay as they are.

        Returns:
            The norm of the whole gradient before clipping.
        """

    def trained(self) -> Trained | None:
        """Gather what training changed so far, on the worker of rank 0; None on the others."""
        parameters, optimizer = {}, {}
        for name, parameter in self._trained.items():
            weights, moments = self._gather(parameter)
            if weights is not None:
                parameters[name], optimizer[name] = weights, moments
        return Trained(parameters=parameters, optimizer=optimizer) if parameters else None

    @abstractmethod
    def _gather(self, parameter: nn.Parameter) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Copy a parameter and the optimizer's state of it to the CPU; None beyond rank 0."""

    def _backward(self, loss: Tensor) -> None:
        loss.backward()

    def _accumulating(self) -> AbstractContextManager[None]:
        """Return a context for micro-batches whose gradients need not be exchanged yet."""
        return nullcontext()


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def restore_parameters(
    model: Qwen2AudioForConditionalGeneration, saved: Mapping[str, Tensor]
) -> None:
    """Fill the trained parameters of a model that no strategy has placed yet.

    Raises:
        ValueError: other parameters were saved than the model trains.
    """
    trained = trained_parameters(model)
    if trained.keys() != saved.keys():
        odd = sorted(trained.keys() ^ saved.keys())
        raise ValueError(
            f"the saved state and the model disagree about {len(odd)} trained parameters, such as "
            f"{odd[0]}. Delete the stage's scratch/states to start it again."
        )
    for name, parameter in trained.items():
        parameter.copy_(saved[name])
