"""The estimate of every stage of a configuration, in the pipeline's order."""

from collections.abc import Mapping
from dataclasses import dataclass

from flows.config import PipelineConfig
from tasks.estimates.answering_cost import estimate_evaluation, estimate_preferences
from tasks.estimates.training_cost import USABLE, Estimate, estimate_training, in_turn, peak_flops
from tasks.initial_model.shape import initial_shape


@dataclass(frozen=True)
class Estimates:
    """Of a whole pipeline."""

    stages: Mapping[str, Estimate]
    """By name, in the pipeline's order."""
    assumptions: tuple[str, ...]

    @property
    def gpu_hours(self) -> float:
        """Of all stages together."""
        return sum(stage.gpu_hours for stage in self.stages.values())

    @property
    def cost(self) -> float | None:
        """Of all stages together; None where no price is known."""
        costs = [stage.cost for stage in self.stages.values() if stage.cost is not None]
        return sum(costs) if costs else None


def estimate_stages(config: PipelineConfig) -> Estimates:
    """What every stage would take.

    Ingest is left out: what it takes depends on recordings that nobody has looked at.

    Raises:
        UnknownShapeError: the weights are neither readable nor published under their name.
    """
    shape, notes = initial_shape(config.pretrain.model, config.weights)
    resources, size = config.resources, config.example
    training = {
        name: estimate_training(
            shape, recipe.optimizer, recipe.tuning, resources, size, name, answers
        )
        for name, recipe, answers in (
            ("pretrain", config.pretrain, 1),
            ("sft", config.sft, 1),
            ("dpo", config.dpo, 2),
        )
    }
    aligned: tuple[str, ...] = ()
    if first := config.pretrain.alignment:
        alignment = estimate_training(
            shape, first.optimizer, first.tuning, resources, size, "pretrain.alignment", answers=0
        )
        training["pretrain"] = in_turn(alignment, training["pretrain"])
        aligned = (
            f"the first {alignment.steps} steps of pretrain are its alignment, which passes the "
            f"encoder alone: {alignment.hours:.2g} hours",
        )
    found = {
        "pretrain": training["pretrain"],
        "sft": training["sft"],
        "collect_preferences": estimate_preferences(
            shape, config.collect_preferences, config.ingest, resources, size
        ),
        "dpo": training["dpo"],
        "evaluate": estimate_evaluation(shape, config.evaluate, config.ingest, resources, size),
    }
    return Estimates(found, (*aligned, *_assumptions(config), *notes))


def _assumptions(config: PipelineConfig) -> tuple[str, ...]:
    resources, size = config.resources, config.example
    peak = peak_flops(resources, config.pretrain.optimizer.precision) / 1e12
    of_whom = (
        "this machine's CPU, measured now, for each worker"
        if resources.accelerator == "cpu"
        else f"{resources.accelerator}, as its maker states it (dense)"
    )
    return (
        f"an example: {size.audio_seconds:g} s of audio, {size.prompt_tokens} tokens of prompt, "
        f"{size.answer_tokens} of answer (example.*)",
        f"{resources.share_of_peak:.0%} (resources.share_of_peak) of {peak:.3g} TFLOP/s in "
        f"pre-training: {of_whom}; exchange and loading have no time of their own",
        f"memory: the fullest micro-batch of {resources.max_tokens_per_micro_batch} tokens at "
        f"most; {1 - USABLE:.0%} of the card is left to driver and gaps",
        "arithmetic: the memory model was compared with measured steps on a CPU alone "
        "(python -m benchmarks memory)",
    )
