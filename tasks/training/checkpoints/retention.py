"""Decides which saved training states stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.compute.keep_checkpoints import KeepCheckpoints


@dataclass(frozen=True)
class Saved:
    """A whole training state in the store."""

    step: int
    saved_at: float
    """Seconds since 1970."""
    metrics: Mapping[str, float]


def steps_to_keep(saved: Sequence[Saved], policy: KeepCheckpoints) -> set[int]:
    """Return the steps of the states that at least one rule of the policy wants."""
    ordered = sorted(saved, key=lambda state: state.step)
    kept = {state.step for state in ordered[-policy.last :]}
    sign = 1 if policy.better == "lower" else -1
    measured = [state for state in ordered if policy.metric in state.metrics]
    ranked = sorted(measured, key=lambda state: (sign * state.metrics[policy.metric], state.step))
    kept |= {state.step for state in ranked[: policy.best]}
    if policy.every_steps:
        kept |= {state.step for state in ordered if state.step % policy.every_steps == 0}
    if policy.every_hours:
        first: dict[int, int] = {}
        for state in ordered:
            first.setdefault(int(state.saved_at // (3600 * policy.every_hours)), state.step)
        kept |= set(first.values())
    return kept
