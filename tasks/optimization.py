"""One optimizer step: its recipe, the objective's interface, the meter."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, distributed, nn
from transformers import Qwen2AudioForConditionalGeneration

from infra.compute import Worker
from model.batch import Batch
from model.parts import Part
from tasks.schedule import LinearSchedule, Schedule
from tasks.split import Load
from tasks.watch import WatchRecipe

Precision = Literal["float32", "bfloat16"]
OptimizerName = Literal["adamw", "adamw_8bit"]


class OptimizerRecipe(BaseModel):
    """AdamW with a linear warm-up of the learning rate and a schedule for its way down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1, description="optimizer steps")
    examples_per_step: int = Field(ge=1, description="examples in a step, over all workers")
    learning_rate: float = Field(gt=0, description="highest learning rate")
    warmup_steps: int = Field(ge=0, description="steps until the highest learning rate")
    schedule: Schedule = LinearSchedule()
    optimizer: OptimizerName = Field(
        "adamw", description="`adamw_8bit`: bitsandbytes', with moments in 8 bits; on GPUs, `ddp`"
    )
    weight_decay: float = Field(0.02, ge=0, description="decoupled weight decay of matrices")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    rate_factors: dict[Part | Literal["adapters"], Annotated[float, Field(gt=0)]] = Field(
        default={},
        description="part of the model, or `adapters` for the low-rank ones of all parts -> "
        "factor on its learning rate, 1 if not named",
    )
    precision: Precision = Field(
        "float32", description="of the matrix products; weights and optimizer stay in float32"
    )
    watch: WatchRecipe = WatchRecipe()
    seed: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix products."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.precision]

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * self.schedule.share(left)


@dataclass(frozen=True)
class MicroBatch:
    """Some examples of a step, ready on the CPU before the network is asked."""

    examples: tuple[int, ...]
    """Their numbers."""
    batch: Batch
    weight: float
    """How many terms the loss over them sums: the mean over a step divides by the sum of all
    weights, which is known before the first gradient. With 0 nothing of it counts."""


@dataclass(frozen=True)
class StepOutcome:
    """What an objective makes of a micro-batch."""

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
    """Of the clips."""


T = TypeVar("T")
Question = Callable[[Qwen2AudioForConditionalGeneration], T]
"""A function of the model, such as early evaluation's."""


class Objective(Protocol):
    """Built on each worker from picklable parts."""

    def loads(self, examples: Sequence[int]) -> list[Load]:
        """How much each example asks of the network, at most, for an even split over workers."""
        ...

    def sources(self, examples: Sequence[int]) -> list[ExampleSource]:
        """Where each example comes from."""
        ...

    def prepare(self, examples: Sequence[int], step: int, /) -> MicroBatch:
        """Read and pack some examples of a step."""
        ...

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch, /
    ) -> StepOutcome:
        """The loss over a micro-batch."""
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
        """The loss and the counts of a micro-batch, or the answer to a question."""
        with reduced_precision(self._precision, self.model.device.type):
            if not isinstance(asked, MicroBatch):
                return asked(self.model)
            outcome = self._objective.outcome(self.model, asked)
        if not asked.weight:
            return 0.0 * outcome.loss, dict.fromkeys(outcome.counts, 0.0)
        return outcome.loss, outcome.counts


def reduced_precision(precision: Precision, device: str = "cpu") -> torch.autocast:
    """A context in which matrix products run in `precision`; sums and norms keep float32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


class Meter:
    """Adds up losses and counts over workers and steps, and times them."""

    def __init__(self, worker: Worker, window: Mapping[str, float], peak: float) -> None:
        """`window` as of another meter; `peak`: operations a second that a worker can do."""
        self._worker = worker
        self._peak = peak * worker.world_size
        self._sums = dict(window)
        self._since = time.perf_counter() - self._sums.pop("seconds", 0.0)

    @property
    def window(self) -> dict[str, float]:
        """The sums since the last reading, from which another meter can go on."""
        return self._sums | {"seconds": time.perf_counter() - self._since}

    @property
    def has_steps(self) -> bool:
        """Whether there is a step to read about."""
        return bool(self._sums)

    def add(self, step: Mapping[str, float]) -> None:
        """Take a step's sums over all workers."""
        for name, value in step.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def read(self) -> dict[str, float]:
        """Averages since the last reading."""
        sums = self.window
        self._sums, self._since = {}, time.perf_counter()
        seconds, weight, positions = (sums.pop(name) for name in ("seconds", "weight", "tokens"))
        flops = sums.pop("flops")
        metrics = {
            "loss": sums.pop("loss") / weight,
            "padding_waste": sums.pop("padding_tokens") / positions,
            "tokens_per_second": positions / seconds,
            "audio_seconds_per_second": sums.pop("audio_seconds") / seconds,
            "teraflops_per_second": flops / seconds / 1e12,
            "share_of_peak": flops / seconds / self._peak,
            "data_wait_share": sums.pop("data_wait") / seconds / self._worker.world_size,
        }
        return metrics | {name: value / weight for name, value in sums.items()}


def add_over_workers(values: Mapping[str, float], worker: Worker) -> dict[str, float]:
    """Sums over all workers, in float64; every worker has the same names."""
    names = sorted(values)
    totals = torch.tensor([values[name] for name in names], dtype=torch.float64)
    if worker.world_size > 1:
        totals = totals.to(worker.device)
        distributed.all_reduce(totals)
    return dict(zip(names, totals.tolist(), strict=True))
