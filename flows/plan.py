"""The planning runner, which finds out what a run would do and why, and runs nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError

from data_contracts.errors import DataError
from data_contracts.stage_record import StageRecord
from flows.composition import chosen
from flows.config import PipelineConfig
from flows.pipeline import STAGES, pipeline
from flows.stage import Artifact, Stage, StageCall
from infra.ledger import Ledger
from infra.storage.file_digests import FileDigests

_OUT_OF_REACH = (DataError, OSError, BotoCoreError)
"""Errors of data, weights or store that are out of reach or wrong; a run would end with them."""


@dataclass(frozen=True)
class PlannedStage:
    """Fate of one stage if the pipeline ran now."""

    stage: str
    fingerprint: str
    state: str
    """One of "hit", "continue" (begun, not finished), "damaged", "miss", and "unknown" where data,
    weights or store are out of reach."""
    reason: str


def plan_stages(
    config: PipelineConfig,
    open_ledger: Callable[[], Ledger],
    digests: FileDigests,
    stages: Sequence[Stage] = STAGES,
) -> list[PlannedStage]:
    """Look up all stages; "unknown" from the first one on that reads something out of reach.

    Args:
        open_ledger: function that opens the store, which may be out of reach too.
        digests: remembered digests of the files of pre-trained weights.
    """
    planned: list[PlannedStage] = []
    wanted = chosen(config, stages)
    try:
        planner = Planner(open_ledger())
        planned = planner.planned
        pipeline(config, planner, digests.digest, stages)
    except _OUT_OF_REACH as error:
        first, *later = (stage for stage in wanted if stage.name not in {p.stage for p in planned})
        planned.append(PlannedStage(first.name, "", "unknown", f"can't be known here: {error}"))
        reason = f"comes after {first.name}"
        planned += [PlannedStage(stage.name, "", "unknown", reason) for stage in later]
    return planned


class Planner:
    """A runner that only looks; `pipeline` calls it, and then `planned` holds what it saw."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.planned: list[PlannedStage] = []

    def __call__(self, call: StageCall) -> Artifact:
        """Look the artifact up and say why it would have to be made."""
        name, fingerprint = call.stage.name, call.artifact.fingerprint
        record = self._ledger.find(name, fingerprint)
        if record is not None:
            damages = self._ledger.verify(record)
            state = "damaged" if damages else "hit"
            reason = "; ".join(f"{d.path}: {d.problem}" for d in damages[:3])
        elif self._ledger.directory(name, fingerprint).list_keys():
            state, reason = "continue", "begun by an earlier run, not finished"
        else:
            state, reason = "miss", self._why_missing(call)
        self.planned.append(PlannedStage(name, fingerprint, state, reason))
        return call.artifact

    def _why_missing(self, call: StageCall) -> str:
        earlier = self._ledger.records(call.stage.name)
        if not earlier:
            return "never made"
        best = min((changes(call, record) for record in earlier), key=len)
        return "; ".join(best)


def changes(call: StageCall, record: StageRecord) -> list[str]:
    """Return the fields in which a call differs from a finished one, as `a.b: old -> new`."""
    lines = []
    if call.stage.version != record.version:
        lines.append(f"version: {record.version} -> {call.stage.version}")
    lines += _differences(record.recipe, call.recipe_values, "")
    for name, fingerprint in call.input_fingerprints.items():
        before = record.inputs.get(name, "none")
        if before != fingerprint:
            lines.append(f"input {name}: {before[:12]} -> {fingerprint[:12]}")
    return lines


def _differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str) -> list[str]:
    lines: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
