"""Interface of an objective, and the module that strategies wrap around one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from transformers import Qwen2AudioForConditionalGeneration

from data_contracts.training_choices import Precision
from model.batch import Batch
from tasks.training.split import Load


@dataclass(frozen=True)
class MicroBatch:
    """Some examples of a step, ready on the CPU before the network is asked."""

    examples: tuple[int, ...]
    """Numbers of the examples."""
    batch: Batch
    weight: float
    """How many terms the loss over them sums: the mean over a step divides by the sum of all
    weights, which is known before the first gradient. A micro-batch of weight 0 does not count."""


@dataclass(frozen=True)
class StepOutcome:
    """What an objective computes of a micro-batch."""

    loss: Tensor
    """Sum over whatever the loss is averaged over, with gradient."""
    counts: Mapping[str, float]
    """Sums that are added over workers: `tokens`, `audio_seconds`, metrics of the objective."""


@dataclass(frozen=True)
class ExampleSource:
    """Where an example comes from, for people who look for a bad one."""

    id: str
    clips: tuple[str, ...]
    shards: tuple[str, ...]
    """Shards of the clips, in the same order."""


T = TypeVar("T")
Question = Callable[[Qwen2AudioForConditionalGeneration], T]
"""A function of the model, such as early evaluation's."""


class Objective(Protocol):
    """Built on each worker from picklable parts."""

    def loads(self, examples: Sequence[int]) -> list[Load]:
        """Return how much each example asks of the network, at most, for an even split."""
        ...

    def sources(self, examples: Sequence[int]) -> list[ExampleSource]:
        """Return where each example comes from."""
        ...

    def prepare(self, examples: Sequence[int], step: int, /) -> MicroBatch:
        """Read and pack some examples of a step."""
        ...

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch, /
    ) -> StepOutcome:
        """Compute the loss over a micro-batch."""
        ...


class ObjectiveModule(nn.Module):
    """A module whose forward is the objective, as strategies that wrap modules need it."""

    def __init__(
        self,
        model: Qwen2AudioForConditionalGeneration,
        objective: Objective,
        precision: Precision,
    ) -> None:
        super().__init__()
        self.model = model
        self._objective = objective
        self._precision = precision

    def forward(
        self, asked: MicroBatch | Question[object]
    ) -> tuple[Tensor, Mapping[str, float]] | object:
        """Compute the loss and the counts of a micro-batch, or the answer to a question."""
        with reduced_precision(self._precision, self.model.device.type):
            if not isinstance(asked, MicroBatch):
                return asked(self.model)
            outcome = self._objective.outcome(self.model, asked)
        if not asked.weight:
            return 0.0 * outcome.loss, dict.fromkeys(outcome.counts, 0.0)
        return outcome.loss, outcome.counts


def reduced_precision(precision: Precision, device: str = "cpu") -> torch.autocast:
    """Return a context in which matrix products run in `precision`; sums and norms keep float32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
