"""Estimates of all stages of a configuration, in the pipeline's order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flows.composition import chosen
from flows.config import PipelineConfig
from flows.pipeline import STAGES
from flows.stage import Stage
from tasks.estimates.estimate import USABLE, Estimate, Premises, peak_flops


@dataclass(frozen=True)
class Estimates:
    """Estimates of a whole pipeline, and what was assumed for them."""

    stages: Mapping[str, Estimate]
    """Stage -> what it would take, in the pipeline's order."""
    unknown: Mapping[str, str]
    """Stage -> why there is no estimate of it."""
    assumptions: tuple[str, ...]

    @property
    def gpu_hours(self) -> float:
        """GPU hours of all stages together."""
        return sum(stage.gpu_hours for stage in self.stages.values())

    @property
    def cost(self) -> float | None:
        """Cost of all stages together; None where no price is known."""
        costs = [stage.cost for stage in self.stages.values() if stage.cost is not None]
        return sum(costs) if costs else None


def estimate_stages(config: PipelineConfig, stages: Sequence[Stage] = STAGES) -> Estimates:
    """Ask every stage for its estimate.

    Raises:
        UnknownShapeError: the weights are neither readable nor published under their name.
    """
    shape, shape_notes = config.initial_shape()
    known: dict[str, Estimate] = {}
    unknown: dict[str, str] = {}
    made: list[str] = []
    for stage in chosen(config, stages):
        premises = Premises(
            key=stage.name,
            shape=shape,
            resources=config.resources,
            example=config.example,
            corpus=config.ingest,
            checkpoints=len(config.compare or made),
        )
        if stage.makes_checkpoint and not config.is_random(stage.name):
            made.append(stage.name)
        estimate = stage.estimate(premises, config.recipe(stage.name))
        if isinstance(estimate, Estimate):
            known[stage.name] = estimate
        else:
            unknown[stage.name] = estimate.reason
    of_stages = (assumption for stage in known.values() for assumption in stage.assumptions)
    common = _assumptions(config, known.values())
    return Estimates(known, unknown, (*of_stages, *common, *shape_notes))


def _assumptions(config: PipelineConfig, estimates: Iterable[Estimate]) -> tuple[str, ...]:
    resources, size = config.resources, config.example
    peaks = " and ".join(
        f"{peak_flops(resources, precision) / 1e12:.3g} TFLOP/s in {precision}"
        for precision in dict.fromkeys(estimate.precision for estimate in estimates)
    )
    origin = (
        "this machine's CPU, measured now, for each worker"
        if resources.accelerator == "cpu"
        else f"{resources.accelerator}, as its maker states it (dense)"
    )
    return (
        f"an example: {size.audio_seconds:g} s of audio, {size.prompt_tokens} tokens of prompt, "
        f"{size.answer_tokens} of answer (example.*)",
        f"{resources.share_of_peak:.0%} (resources.share_of_peak) of {peaks}: {origin}; exchange "
        "and loading have no time of their own",
        f"memory: the fullest micro-batch of {resources.max_tokens_per_micro_batch} tokens at "
        f"most; {1 - USABLE:.0%} of the card is left to driver and gaps",
        "arithmetic: the memory model was compared with measured steps on a CPU alone "
        "(python -m benchmarks memory)",
    )
