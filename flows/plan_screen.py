"""Pages of `q2a plan`: what would run and why, and what it would take."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.config import PipelineConfig
from flows.estimates import Estimates
from flows.plan import PlannedStage
from flows.tables import print_table
from tasks.estimates.estimate import Estimate, usable_gib

_STYLES = {"hit": "green", "miss": "yellow", "continue": "cyan", "damaged": "red", "unknown": "red"}


def print_plan(console: Console, planned: Sequence[PlannedStage]) -> None:
    """Print for each stage whether it is a hit or a miss, and why."""
    table = Table(title="Plan")
    for name in ("stage", "state", "artifact", "why"):
        table.add_column(name, overflow="fold")
    for stage in planned:
        style = _STYLES[stage.state]
        table.add_row(
            # Text: rich would read a list in the reason as markup.
            stage.stage,
            f"[{style}]{stage.state}[/]",
            stage.fingerprint[:12],
            Text(stage.reason),
        )
    console.print(table)


def print_estimates(console: Console, config: PipelineConfig, estimates: Estimates) -> None:
    """Print work, time and cost of every stage; a worker's memory, and whether it fits."""
    print_table(console, _work_table(config, estimates))
    print_table(console, _memory_table(config, estimates))
    for name, reason in estimates.unknown.items():
        _line(console, f"{name}: no estimate: {reason}")
    for name, stage in estimates.stages.items():
        for note in stage.notes:
            _line(console, f"{name}: {note}")
    for assumption in estimates.assumptions:
        _line(console, f"assumed: {assumption}")


def plan_as_json(planned: Sequence[PlannedStage], estimates: Estimates) -> str:
    """Return the plan for scripts: a list of stages, each with its estimate or null."""
    known = {name: asdict(estimate) for name, estimate in estimates.stages.items()}
    stages = [vars(stage) | {"estimate": known.get(stage.stage)} for stage in planned]
    return json.dumps(stages, indent=2)


def _work_table(config: PipelineConfig, estimates: Estimates) -> Table:
    table = Table(
        title=f"Estimate: {config.resources.num_workers} x {config.resources.accelerator}"
    )
    currency = config.resources.currency
    table.add_column("stage")
    for name in ("steps", "examples", "tokens", "audio hours", "PFLOP", "workers", "hours"):
        table.add_column(name, justify="right")
    table.add_column("GPU hours", justify="right")
    table.add_column(f"cost, {currency}", justify="right")
    for name, stage in estimates.stages.items():
        table.add_row(
            name,
            _count(stage.steps),
            _count(stage.examples),
            _count(stage.tokens),
            _count(stage.audio_hours),
            _count(stage.flops / 1e15),
            str(stage.workers),
            _count(stage.hours),
            _gpu_hours(config, stage.gpu_hours),
            "" if stage.cost is None else _count(stage.cost),
        )
    cost = "" if estimates.cost is None else _count(estimates.cost)
    table.add_section()
    table.add_row("all", *[""] * 7, _gpu_hours(config, estimates.gpu_hours), cost)
    return table


def _memory_table(config: PipelineConfig, estimates: Estimates) -> Table:
    memory, usable = config.resources.memory_gib, usable_gib(config.resources)
    size = f" (of {memory:g}, {usable:.3g} usable)" if usable else ""
    table = Table(title=f"Memory of one worker, GiB{size}")
    names = list(dict.fromkeys(n for stage in estimates.stages.values() for n in stage.memory_gib))
    table.add_column("stage", no_wrap=True)
    for name in (*names, "peak"):
        table.add_column(name, justify="right")
    table.add_column("at", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    for name, stage in estimates.stages.items():
        parts = (stage.memory_gib.get(part, 0.0) for part in names)
        table.add_row(
            name,
            *(f"{part:.2f}" if part else "" for part in parts),
            f"{stage.peak_gib:.2f}",
            stage.moment,
            _verdict(stage),
        )
    return table


def _verdict(stage: Estimate) -> str:
    host = f", host {stage.host_gib:.0f}" if stage.host_gib else ""
    if stage.fits is None:
        return "unknown"
    return f"[green]yes[/]{host}" if stage.fits else f"[red]NO[/]{host}"


def _gpu_hours(config: PipelineConfig, hours: float) -> str:
    return _count(hours) if config.resources.gpus_per_worker else ""


def _count(value: float) -> str:
    """Format a number with three significant digits."""
    if value == 0:
        return ""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)
