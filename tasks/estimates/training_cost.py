"""What a training stage would take: memory a worker, operations, hours, cost. Arithmetic alone.

Nothing is opened and nothing started: steps and examples are the recipe's, an example's size is
stated (`ExampleSize`), the network's shape comes from `model.costs.shapes`. The page that prints
it says what was assumed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import Field
from transformers import Qwen2AudioConfig

from data_contracts.recipe import Recipe
from data_contracts.training_choices import Precision
from infra.compute.hardware import ACCELERATORS, GIB
from infra.compute.resources import Resources
from model.costs.activations import learning_under
from model.costs.flops import StepSizes, measured_peak, recomputed_flops, training_flops
from model.costs.memory import TrainingMemory, TrainingPlan, not_in_the_loop, training_memory
from model.costs.shapes import ParameterCount, count_parameters
from model.tuning import TuningRecipe
from tasks.training.recipe import OptimizerRecipe, torch_dtype

USABLE = 0.92
"""Of the accelerator's memory. The rest: the driver's context, libraries' workspaces, gaps."""
_POSITIONS_PER_SECOND = 50
_LONGEST_SECONDS = 30.0
_SMALLEST_BUDGET = 2048


class ExampleSize(Recipe):
    """What `q2a plan` takes an example of the corpus to be; nothing else reads it."""

    audio_seconds: float = Field(7.6, gt=0, le=_LONGEST_SECONDS)
    """Mean of a clip."""
    prompt_tokens: int = Field(16, ge=1)
    """Text before the answer."""
    answer_tokens: int = Field(25, ge=1)
    """Of a clip's transcript or answer."""

    def positions(self, seconds: float) -> int:
        """Of the encoder: 50 a second."""
        return round(_POSITIONS_PER_SECOND * seconds)

    def tokens(self, seconds: float, answers: int = 1) -> int:
        """In the language model's row: 25 a second of audio, and the text."""
        return self.positions(seconds) // 2 + self.prompt_tokens + answers * self.answer_tokens


@dataclass(frozen=True)
class Estimate:
    """One stage."""

    examples: int = 0
    steps: int = 0
    tokens: int = 0
    audio_hours: float = 0.0
    flops: int = 0
    """Executed, what checkpointing executes again included."""
    workers: int = 1
    hours: float = 0.0
    gpu_hours: float = 0.0
    """Of all workers; where they have no GPU, worker hours."""
    cost: float | None = None
    memory_gib: Mapping[str, float] = field(default_factory=dict)
    """What the peak of one worker is made of."""
    peak_gib: float = 0.0
    moment: str = ""
    """When it is reached."""
    host_gib: float = 0.0
    fits: bool | None = None
    """None where nobody says how much memory there is."""
    notes: tuple[str, ...] = ()
    """What to turn where it does not fit, and what this estimate does not know."""


def in_turn(first: Estimate, second: Estimate) -> Estimate:
    """Two trainings of one stage, one after the other: their work, and the larger one's memory."""
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
    )


def peak_flops(resources: Resources, precision: Precision) -> float:
    """Operations a second of one worker: by the maker's word, or of this machine's CPU."""
    if resources.accelerator == "cpu":
        return measured_peak(torch.device("cpu"), torch_dtype(precision))
    return float(getattr(ACCELERATORS[resources.accelerator], precision))


def usable_gib(resources: Resources) -> float | None:
    """What a worker may hold."""
    return None if resources.memory_gib is None else USABLE * resources.memory_gib


def priced(resources: Resources, workers: int, hours: float) -> dict[str, Any]:
    """Hours of all workers' GPUs, and what they cost."""
    gpu_hours = hours * workers * (resources.gpus_per_worker or 1)
    price = resources.price_per_gpu_hour
    return {
        "workers": workers,
        "hours": hours,
        "gpu_hours": gpu_hours,
        "cost": None if price is None or not resources.gpus_per_worker else gpu_hours * price,
    }


def estimate_training(
    config: Qwen2AudioConfig,
    optimizer: OptimizerRecipe,
    tuning: TuningRecipe,
    resources: Resources,
    size: ExampleSize,
    stage: str,
    answers: int = 1,
) -> Estimate:
    """A stage of optimizer steps.

    Args:
        stage: its name, for the overrides that the remedies name.
        answers: of an example; 2 where it is a preference pair, 0 where the language model is not
            asked: the audio side learns to spell.
    """
    sizes = _sizes(size, size.audio_seconds, 1, answers)
    learning = learning_under(tuning)
    flops = training_flops(config, sizes, learning)
    if resources.activation_checkpointing:
        flops += recomputed_flops(config, sizes, learning)
    examples = optimizer.steps * optimizer.examples_per_step
    speed = resources.num_workers * peak_flops(resources, optimizer.precision)
    hours = examples * flops / (speed * resources.share_of_peak) / 3600
    job = _Job(config, _count(config, tuning, answers), optimizer, tuning, size, answers)
    memory = job.memory(resources)
    allowed = usable_gib(resources)
    fits = None if allowed is None else memory.peak <= allowed * GIB
    notes: tuple[str, ...] = ()
    if fits is False:
        notes = tuple(_remedies(job, resources, stage))
    return Estimate(
        examples=examples,
        steps=optimizer.steps,
        tokens=examples * sizes.num_positions,
        audio_hours=examples * size.audio_seconds / 3600,
        flops=examples * flops,
        memory_gib=_parts(memory),
        peak_gib=memory.peak / GIB,
        moment=memory.moment,
        host_gib=memory.state.host / GIB,
        fits=fits,
        notes=notes,
        **priced(resources, resources.num_workers, hours),
    )


def _count(config: Qwen2AudioConfig, tuning: TuningRecipe, answers: int) -> ParameterCount:
    """A language model that is not asked passes no gradient on either."""
    count = count_parameters(config, tuning)
    if answers:
        return count
    frozen = tuning.model_copy(update={"audio_encoder": "frozen"})
    passing = count_parameters(config, frozen).passing_products
    return replace(count, passing_products=count.passing_products - passing)


def _sizes(size: ExampleSize, seconds: float, count: int, answers: int) -> StepSizes:
    """`count` equal examples as one micro-batch."""
    tokens = size.tokens(seconds, answers) if answers else 0
    return StepSizes(
        num_positions=count * tokens,
        num_pairs=count * tokens**2 / 2,
        num_labels=count * answers * size.answer_tokens,
        window_positions=(size.positions(seconds),) * count,
    )


@dataclass(frozen=True)
class _Job:
    """What a training stage's memory depends on, besides the resources."""

    config: Qwen2AudioConfig
    count: ParameterCount
    optimizer: OptimizerRecipe
    tuning: TuningRecipe
    size: ExampleSize
    answers: int

    def memory(self, resources: Resources) -> TrainingMemory:
        """Of the largest micro-batch: the token budget full, or a worker's share of a step where
        even 30 s in each of its examples do not fill it.
        """
        budget, size = resources.max_tokens_per_micro_batch, self.size
        mine = -(-self.optimizer.examples_per_step // resources.num_workers)
        packed = max(1, self.answers)  # with their answers also where nobody reads them
        average = size.tokens(size.audio_seconds, packed)
        longest = size.tokens(_LONGEST_SECONDS, packed)
        count = max(1, min(budget, mine * longest) // average)
        plan = TrainingPlan(
            tuning=self.tuning,
            precision=self.optimizer.precision,
            optimizer=self.optimizer.optimizer,
            strategy=resources.strategy,
            workers=resources.num_workers,
            checkpointing=resources.activation_checkpointing,
            micro_batches=-(-mine * average // budget),
            device="cuda" if resources.gpus_per_worker else "cpu",
        )
        sizes = _sizes(size, size.audio_seconds, count, self.answers)
        return training_memory(self.config, self.count, sizes, plan)

    def with_adapters(self) -> "_Job":
        """The same with adapters in the language model, or in the encoder where that is alone."""
        part = "language_model" if self.answers else "audio_encoder"
        tuning = self.tuning.model_copy(update={part: "lora"})
        return replace(self, tuning=tuning, count=_count(self.config, tuning, self.answers))


def _parts(memory: TrainingMemory) -> dict[str, float]:
    state, kept = memory.state, memory.activations
    parts = {
        "weights": state.weights,
        "copies": memory.copies,
        "gradients": state.gradients,
        "optimizer": state.optimizer,
        "exchange": state.exchange,
        "kept": kept.text + kept.audio,
        "layer": max(kept.text_layer, kept.audio_layer),
        "logits": kept.logits,
    }
    return {name: size / GIB for name, size in parts.items()}


def _remedies(job: _Job, resources: Resources, stage: str) -> Iterator[str]:
    """Each knob alone: what it saves, and whether that is enough."""
    allowed, adapted = usable_gib(resources) or 0.0, job.with_adapters()

    def peak(job: _Job = job, **changes: Any) -> float:
        return job.memory(resources.model_copy(update=changes)).peak / GIB

    here = peak()
    yield f"needs {here:.0f} GiB, {allowed:.0f} are usable. What each of these saves:"
    lora = f"{stage}.tuning.language_model=lora" if job.answers else f"{stage}.audio_encoder=lora"
    checkpointing = "activation_checkpointing=true"
    more = 4 * resources.num_workers
    for knobs, there in (
        ((f"resources.{checkpointing}",), peak(activation_checkpointing=True)),
        (
            (f"resources.max_tokens_per_micro_batch={_SMALLEST_BUDGET}",),
            peak(max_tokens_per_micro_batch=_SMALLEST_BUDGET),
        ),
        (("resources.strategy=fsdp2",), peak(strategy="fsdp2")),
        (
            ("resources.strategy=fsdp2", f"resources.num_workers={more}"),
            peak(strategy="fsdp2", num_workers=more),
        ),
        (
            (
                "resources.strategy=fsdp2",
                f"resources.num_workers={more}",
                f"resources.{checkpointing}",
            ),
            peak(strategy="fsdp2", num_workers=more, activation_checkpointing=True),
        ),
        ((lora,), peak(adapted)),
        ((lora, f"resources.{checkpointing}"), peak(adapted, activation_checkpointing=True)),
    ):
        if there < 0.99 * here:
            verdict = "fits" if there <= allowed else "does not fit yet"
            override = " ".join(f"--set {knob}" for knob in knobs)
            yield f"{override}: {here - there:.0f} GiB, then {there:.0f}: {verdict}"
    for way, state in not_in_the_loop(job.count).items():
        if state / GIB <= allowed:
            yield f"not in the training loop: {way}, {state / GIB:.0f} GiB before activations"
