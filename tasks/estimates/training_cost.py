"""Estimates of the training stages: memory of a worker, operations, hours and cost.

Arithmetic alone, nothing is opened and nothing started: steps and examples are the recipe's, the
size of an example is assumed (`ExampleSize`), the network's parts come from `model.costs.shapes`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from transformers import Qwen2AudioConfig

from infra.compute.hardware import GIB
from infra.compute.resources import Resources
from model.costs.activations import learning_under
from model.costs.flops import StepSizes, recomputed_flops, training_flops
from model.costs.memory import TrainingMemory, TrainingPlan, not_in_the_loop, training_memory
from model.costs.shapes import ParameterCount, count_parameters
from model.tuning import TuningRecipe
from tasks.dpo import DpoRecipe
from tasks.estimates.estimate import (
    LONGEST_SECONDS,
    Estimate,
    ExampleSize,
    Premises,
    in_turn,
    peak_flops,
    priced,
    usable_gib,
)
from tasks.objectives.supervised import SupervisedRecipe
from tasks.pretrain import PretrainRecipe
from tasks.training.recipe import OptimizerRecipe

_SMALLEST_BUDGET = 2048
"""Tokens of a micro-batch below which no remedy goes."""


def estimate_pretrain(premises: Premises, recipe: PretrainRecipe) -> Estimate:
    """Estimate pre-training, with the alignment that may come before it."""
    answering = estimate_supervised(premises, recipe)
    if recipe.alignment is None:
        return answering
    aligning = estimate_training(
        replace(premises, key=f"{premises.key}.alignment"),
        recipe.alignment.optimizer,
        recipe.alignment.tuning,
        answers=0,
    )
    assumption = (
        f"the first {aligning.steps} steps of {premises.key} are its alignment, which passes the "
        f"encoder alone: {aligning.hours:.2g} hours"
    )
    return in_turn(replace(aligning, assumptions=(assumption,)), answering)


def estimate_supervised(premises: Premises, recipe: SupervisedRecipe) -> Estimate:
    """Estimate next-token training on answers."""
    return estimate_training(premises, recipe.optimizer, recipe.tuning)


def estimate_dpo(premises: Premises, recipe: DpoRecipe) -> Estimate:
    """Estimate preference optimisation, whose examples are pairs of answers."""
    return estimate_training(premises, recipe.optimizer, recipe.tuning, answers=2)


def estimate_training(
    premises: Premises, optimizer: OptimizerRecipe, tuning: TuningRecipe, answers: int = 1
) -> Estimate:
    """Estimate a stage of optimizer steps.

    Args:
        answers: number of answers in an example; 2 where it is a preference pair, 0 where the
            language model is not used because the audio side learns to spell.
    """
    config, resources, size = premises.shape, premises.resources, premises.example
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
        notes = tuple(_remedies(job, resources, premises.key))
    return Estimate(
        examples=examples,
        steps=optimizer.steps,
        tokens=examples * sizes.num_positions,
        audio_hours=examples * size.audio_seconds / 3600,
        flops=examples * flops,
        precision=optimizer.precision,
        memory_gib=_parts(memory),
        peak_gib=memory.peak / GIB,
        moment=memory.moment,
        host_gib=memory.state.host / GIB,
        fits=fits,
        notes=notes,
        **priced(resources, resources.num_workers, hours),
    )


def _count(config: Qwen2AudioConfig, tuning: TuningRecipe, answers: int) -> ParameterCount:
    """Count parameters; a language model that is not used passes no gradient on either."""
    count = count_parameters(config, tuning)
    if answers:
        return count
    frozen = tuning.model_copy(update={"audio_encoder": "frozen"})
    passing = count_parameters(config, frozen).passing_products
    return replace(count, passing_products=count.passing_products - passing)


def _sizes(size: ExampleSize, seconds: float, count: int, answers: int) -> StepSizes:
    """Return the sizes of one micro-batch of `count` equal examples."""
    tokens = size.tokens(seconds, answers) if answers else 0
    return StepSizes(
        num_positions=count * tokens,
        num_pairs=count * tokens**2 / 2,
        num_labels=count * answers * size.answer_tokens,
        window_positions=(size.positions(seconds),) * count,
    )


@dataclass(frozen=True)
class _Job:
    """All that decides a training stage's memory, besides the resources."""

    config: Qwen2AudioConfig
    count: ParameterCount
    optimizer: OptimizerRecipe
    tuning: TuningRecipe
    size: ExampleSize
    answers: int

    def memory(self, resources: Resources) -> TrainingMemory:
        """Return the memory of the largest micro-batch.

        That is the full token budget, or a worker's share of a step where even examples of 30 s
        do not fill the budget.
        """
        budget, size = resources.max_tokens_per_micro_batch, self.size
        own_examples = -(-self.optimizer.examples_per_step // resources.num_workers)
        packed = max(1, self.answers)  # answers are packed even where they are not used
        average = size.tokens(size.audio_seconds, packed)
        longest = size.tokens(LONGEST_SECONDS, packed)
        count = max(1, min(budget, own_examples * longest) // average)
        plan = TrainingPlan(
            tuning=self.tuning,
            precision=self.optimizer.precision,
            optimizer=self.optimizer.optimizer,
            strategy=resources.strategy,
            workers=resources.num_workers,
            checkpointing=resources.activation_checkpointing,
            micro_batches=-(-own_examples * average // budget),
            device="cuda" if resources.gpus_per_worker else "cpu",
        )
        sizes = _sizes(size, size.audio_seconds, count, self.answers)
        return training_memory(self.config, self.count, sizes, plan)

    def with_adapters(self) -> "_Job":
        """Return the job with adapters in the language model, or in an encoder that is alone."""
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


def _remedies(job: _Job, resources: Resources, key: str) -> Iterator[str]:
    """Yield what each override saves, and whether that is enough."""
    allowed, adapted = usable_gib(resources) or 0.0, job.with_adapters()

    def peak(job: _Job = job, **changes: Any) -> float:
        return job.memory(resources.model_copy(update=changes)).peak / GIB

    here = peak()
    yield f"needs {here:.0f} GiB, {allowed:.0f} are usable. What each of these saves:"
    lora = f"{key}.tuning.language_model=lora" if job.answers else f"{key}.audio_encoder=lora"
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
