"""Names the examples of a step that went wrong, before the policy decides what follows."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from infra.compute.interface import Worker
from tasks.training.messages.notices import Notice, Notify
from tasks.training.meter import add_over_workers
from tasks.training.objective import ExampleSource, Objective
from tasks.training.strategies.strategy import Strategy

_NAMED = 8


@dataclass(frozen=True)
class BadStep:
    """A step whose loss or gradient is not finite, or a spike."""

    step: int
    problem: str
    """What is wrong with it, for people."""
    mine: Sequence[int]
    """Examples that this worker computed, none where there were too few."""
    everyone: Sequence[int]
    """All examples of the step."""


def find_culprits(
    bad: BadStep, objective: Objective, strategy: Strategy, worker: Worker
) -> list[int]:
    """Find the examples whose loss alone is not finite; the same list on every worker.

    All workers evaluate their examples one by one and equally often, because a strategy may have
    to gather the model for each.
    """
    shares = {str(rank): 0.0 for rank in range(worker.world_size)}
    shares[str(worker.rank)] = len(bad.mine)
    turns = int(max(add_over_workers(shares, worker).values()))
    asked = bad.mine or bad.everyone[:1]
    culprits = {
        example
        for example in (asked[min(turn, len(asked) - 1)] for turn in range(turns))
        if not math.isfinite(strategy.loss(objective.prepare([example], bad.step)))
    }
    marks = {str(example): float(example in culprits) for example in bad.everyone}
    totals = add_over_workers(marks, worker)
    return sorted(int(example) for example, total in totals.items() if total > 0)


def name_examples(
    bad: BadStep, culprits: Sequence[int], objective: Objective, worker: Worker, notify: Notify
) -> None:
    """Report which examples, clips and shards this worker computed, and which of them are bad."""
    if not bad.mine:
        return
    sources = dict(zip(bad.mine, objective.sources(bad.mine), strict=True))
    named = [sources[example] for example in culprits if example in sources]
    blamed = (
        f"bad by itself: {_listed(named)}"
        if named
        else f"its examples: {_listed([*sources.values()])}"
    )
    rows = [
        {"id": s.id, "clips": s.clips, "shards": s.shards, "bad": example in culprits}
        for example, s in sources.items()
    ]
    name = f"step-{bad.step:08d}.worker-{worker.rank}"
    notify(
        Notice(
            f"step {bad.step}: {bad.problem}; worker {worker.rank}, {blamed}",
            {f"q2a.watch.{name}": f"{bad.problem}; {blamed}"},
            {f"watch/{name}.json": json.dumps(rows, indent=1, ensure_ascii=False)},
        )
    )


def _listed(sources: Sequence[ExampleSource]) -> str:
    named = [f"{s.id} (clips {list(s.clips)} in {list(s.shards)})" for s in sources[:_NAMED]]
    more = [f"and {len(sources) - _NAMED} more"] if len(sources) > _NAMED else []
    return ", ".join([*named, *more])
