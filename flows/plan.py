"""The planning runner: which stages would hit or miss, and which field changed. Runs nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError

from data_contracts.stage_record import StageRecord
from flows.config import PipelineConfig
from flows.pipeline import STAGES, pipeline
from flows.stage import Artifact, StageCall
from infra.ledger import Ledger
from infra.storage.file_digests import FileDigests
from tasks.initial_model.build import WeightSourceError
from tasks.sources.corpus_files import CorpusError
from tasks.sources.manifest import DataSourceError

_OUT_OF_REACH = (DataSourceError, CorpusError, WeightSourceError, OSError, BotoCoreError)
"""What says that data, weights or store are not here; a run would end with it."""


@dataclass(frozen=True)
class PlannedStage:
    """What would happen to one stage."""

    stage: str
    fingerprint: str
    state: str
    """ "hit", "continue" (begun, not finished), "damaged", "miss", or "unknown" where data, weights
    or store are out of reach."""
    reason: str


def plan_stages(
    config: PipelineConfig, open_ledger: Callable[[], Ledger], digests: FileDigests
) -> list[PlannedStage]:
    """Look up all stages. What can't be known here, because something is out of reach, says so."""
    planned: list[PlannedStage] = []
    try:
        planner = Planner(open_ledger())
        planned = planner.planned
        pipeline(config, planner, digests.digest)
    except _OUT_OF_REACH as error:
        first, *later = STAGES[len(planned) :]
        planned.append(PlannedStage(first.name, "", "unknown", f"can't be known here: {error}"))
        reason = f"comes after {first.name}"
        planned += [PlannedStage(stage.name, "", "unknown", reason) for stage in later]
    return planned


class Planner:
    """A runner that only looks: call it through `pipeline`, then read `planned`."""

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
    """The fields in which a call differs from a finished one, `a.b: old -> new`."""
    found = []
    if call.stage.version != record.version:
        found.append(f"version: {record.version} -> {call.stage.version}")
    found += _differences(record.recipe, call.recipe_values, "")
    for name, fingerprint in call.input_fingerprints.items():
        before = record.inputs.get(name, "none")
        if before != fingerprint:
            found.append(f"input {name}: {before[:12]} -> {fingerprint[:12]}")
    return found


def _differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str) -> list[str]:
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return found
