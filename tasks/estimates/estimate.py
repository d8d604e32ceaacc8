"""Estimates of stages: what they start from, what they hold, and the arithmetic they share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import Field
from transformers import Qwen2AudioConfig

from data_contracts.recipe import Recipe
from data_contracts.training_choices import Precision
from infra.compute.hardware import ACCELERATORS
from infra.compute.resources import Resources
from model.costs.flops import measured_peak
from tasks.training.recipe import torch_dtype

USABLE = 0.92
"""Share of an accelerator's memory that a worker may hold. The driver's context, workspaces of
libraries and gaps take the rest."""
LONGEST_SECONDS = 30.0
"""Longest audio of an example, in seconds: one window of the encoder."""
_POSITIONS_PER_SECOND = 50


class ExampleSize(Recipe):
    """Size of an example of the corpus, as `q2a plan` assumes it; nothing else reads it."""

    audio_seconds: float = Field(7.6, gt=0, le=LONGEST_SECONDS)
    """Mean length of a clip, in seconds."""
    prompt_tokens: int = Field(16, ge=1)
    """Mean length of the text before the answer, in tokens."""
    answer_tokens: int = Field(25, ge=1)
    """Mean length of an answer, such as a clip's transcript, in tokens."""

    def positions(self, seconds: float) -> int:
        """Return the encoder's positions: 50 a second."""
        return round(_POSITIONS_PER_SECOND * seconds)

    def tokens(self, seconds: float, answers: int = 1) -> int:
        """Return the language model's tokens: 25 a second of audio, and the text."""
        return self.positions(seconds) // 2 + self.prompt_tokens + answers * self.answer_tokens


@dataclass(frozen=True)
class Premises:
    """Starting point of a stage's estimate, besides the stage's own recipe."""

    key: str
    """Key of that recipe in a profile, which the overrides in remedies begin with."""
    shape: Qwen2AudioConfig
    resources: Resources
    example: ExampleSize
    corpus: Recipe
    """Recipe of the corpus that the stage reads."""
    checkpoints: int = 1
    """Number of checkpoints that it reads."""


@dataclass(frozen=True)
class Estimate:
    """Work, time, memory and cost of one stage."""

    examples: int = 0
    steps: int = 0
    tokens: int = 0
    audio_hours: float = 0.0
    flops: int = 0
    """Operations that are executed, those that checkpointing executes again included."""
    precision: Precision = "float32"
    """Numbers that most of the operations are done in."""
    workers: int = 1
    hours: float = 0.0
    gpu_hours: float = 0.0
    """Hours of all workers' GPUs together; of the workers where they have no GPU."""
    cost: float | None = None
    """Price of the GPU hours; None where no price is known."""
    memory_gib: Mapping[str, float] = field(default_factory=dict)
    """Name of a part -> its size at one worker's peak, in GiB."""
    peak_gib: float = 0.0
    moment: str = ""
    """Moment at which the peak is reached."""
    host_gib: float = 0.0
    fits: bool | None = None
    """Whether the peak fits into the usable memory; None where its size is unknown."""
    notes: tuple[str, ...] = ()
    """Overrides that help where the stage does not fit, and what this estimate leaves out."""
    assumptions: tuple[str, ...] = ()
    """Assumptions that hold for this stage only."""


@dataclass(frozen=True)
class NoEstimate:
    """Reason why nothing can be said about a stage before it runs."""

    reason: str


Estimator = Callable[[Premises, Any], Estimate | NoEstimate]
"""(premises, the stage's recipe) -> what the stage would take."""


def known_when_run(_: Premises, __: Recipe) -> NoEstimate:
    """Estimate nothing: the stage's work depends on recordings that no plan reads."""
    return NoEstimate("what it takes depends on recordings that are not read before it runs")


def soon_done(_: Premises, __: Recipe) -> NoEstimate:
    """Estimate nothing: building or copying a checkpoint takes little beside any training."""
    return NoEstimate("a checkpoint is built or copied, which takes little beside any training")


def in_turn(first: Estimate, second: Estimate) -> Estimate:
    """Add two trainings of one stage, one after the other; the larger one's memory is needed."""
    costs = [part.cost for part in (first, second) if part.cost is not None]
    return replace(
        max(first, second, key=lambda part: part.peak_gib),
        examples=first.examples + second.examples,
        steps=first.steps + second.steps,
        tokens=first.tokens + second.tokens,
        audio_hours=first.audio_hours + second.audio_hours,
        flops=first.flops + second.flops,
        hours=first.hours + second.hours,
        gpu_hours=first.gpu_hours + second.gpu_hours,
        cost=sum(costs) if costs else None,
        notes=first.notes + second.notes,
        assumptions=first.assumptions + second.assumptions,
    )


def peak_flops(resources: Resources, precision: Precision) -> float:
    """Return one worker's operations a second: the maker's number, or this CPU's, measured."""
    if resources.accelerator == "cpu":
        return measured_peak(torch.device("cpu"), torch_dtype(precision))
    return float(getattr(ACCELERATORS[resources.accelerator], precision))


def usable_gib(resources: Resources) -> float | None:
    """Return the GiB that a worker may hold; None where the memory's size is unknown."""
    return None if resources.memory_gib is None else USABLE * resources.memory_gib


def priced(resources: Resources, workers: int, hours: float) -> dict[str, Any]:
    """Return the fields of an estimate that follow from its hours: GPU hours and cost."""
    gpu_hours = hours * workers * (resources.gpus_per_worker or 1)
    price = resources.price_per_gpu_hour
    return {
        "workers": workers,
        "hours": hours,
        "gpu_hours": gpu_hours,
        "cost": None if price is None or not resources.gpus_per_worker else gpu_hours * price,
    }
