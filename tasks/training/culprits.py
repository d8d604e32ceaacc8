"""What is done about a step with a problem before the policy decides: its examples are named."""

import json
import math
from collections.abc import Sequence

from infra.compute.interface import Worker
from tasks.training.messages.notices import Notice, Notify
from tasks.training.meter import add_over_workers
from tasks.training.objective import ExampleSource, Objective
from tasks.training.strategies.strategy import Strategy

_NAMED = 8


def find_culprits(
    step: int,
    mine: Sequence[int],
    everyone: Sequence[int],
    objective: Objective,
    strategy: Strategy,
    worker: Worker,
) -> list[int]:
    """The examples of a step whose loss alone is not finite; the same list on every worker.

    All workers evaluate their examples one by one and equally often, because a strategy may have
    to gather the model for each.

    Args:
        mine: examples that this worker computed, none where there were too few.
        everyone: all examples of the step.
    """
    shares = {str(rank): 0.0 for rank in range(worker.world_size)} | {str(worker.rank): len(mine)}
    turns = int(max(add_over_workers(shares, worker).values()))
    asked = mine or everyone[:1]
    bad = {
        example
        for example in (asked[min(turn, len(asked) - 1)] for turn in range(turns))
        if not math.isfinite(strategy.loss(objective.prepare([example], step)))
    }
    marks = {str(example): float(example in bad) for example in everyone}
    found = add_over_workers(marks, worker)
    return sorted(int(example) for example, mark in found.items() if mark > 0)


def name_examples(
    step: int,
    problem: str,
    mine: Sequence[int],
    culprits: Sequence[int],
    objective: Objective,
    worker: Worker,
    notify: Notify,
) -> None:
    """Say which examples, clips and shards this worker computed, and which of them are bad."""
    if not mine:
        return
    sources = dict(zip(mine, objective.sources(mine), strict=True))
    bad = [sources[example] for example in culprits if example in sources]
    blamed = (
        f"bad by itself: {_listed(bad)}" if bad else f"its examples: {_listed([*sources.values()])}"
    )
    rows = [
        {"id": s.id, "clips": s.clips, "shards": s.shards, "bad": example in culprits}
        for example, s in sources.items()
    ]
    name = f"step-{step:08d}.worker-{worker.rank}"
    notify(
        Notice(
            f"step {step}: {problem}; worker {worker.rank}, {blamed}",
            {f"q2a.watch.{name}": f"{problem}; {blamed}"},
            {f"watch/{name}.json": json.dumps(rows, indent=1, ensure_ascii=False)},
        )
    )


def _listed(sources: Sequence[ExampleSource]) -> str:
    named = [f"{s.id} (clips {list(s.clips)} in {list(s.shards)})" for s in sources[:_NAMED]]
    more = [f"and {len(sources) - _NAMED} more"] if len(sources) > _NAMED else []
    return ", ".join([*named, *more])
