"""The plan says hit or miss, and why, and runs nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_contracts import recipe
from data_contracts.contract_result import ContractResult
from data_contracts.stage_record import StageRecord
from flows.composition import chosen
from flows.config import load_config
from flows.estimates import estimate_stages
from flows.pipeline import STAGES
from flows.plan import PlannedStage, Planner, plan_stages
from flows.profile_files import profile_names
from flows.stage import Artifact, Stage, StageCall
from infra.ledger import Ledger
from infra.storage.file_digests import FileDigests
from infra.storage.store import Store
from infra.storage.transfer import StoreError
from tasks.context import StageContext, StageResult
from tasks.estimates.estimate import known_when_run


class Optimizer(recipe.Recipe):
    steps: int = 3
    rate: float = 0.1


class Recipe(recipe.Recipe):
    optimizer: Optimizer = Optimizer()
    tasks: tuple[str, ...] = ("asr",)


def never_run(context: StageContext, recipe: Recipe) -> StageResult:
    raise AssertionError("a plan ran a stage")


def never_check(directory: Store) -> list[ContractResult]:
    raise AssertionError("a plan checked a stage")


FIRST = Stage("first", 1, Recipe, {}, never_run, never_check, known_when_run)
SECOND = replace(FIRST, name="second", inputs={"corpus": (FIRST,)})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(str(tmp_path / "store")), tmp_path / "locks")


def plan(ledger: Ledger, *calls: StageCall) -> list[PlannedStage]:
    planner = Planner(ledger)
    for call in calls:
        assert planner(call) == call.artifact
    return planner.planned


def finish(ledger: Ledger, call: StageCall) -> None:
    stage, fingerprint = call.stage.name, call.artifact.fingerprint
    ledger.directory(stage, fingerprint).write_bytes("data", b"0123456789")
    ledger.complete(
        StageRecord(
            stage=stage,
            version=call.stage.version,
            fingerprint=fingerprint,
            recipe=call.recipe_values,
            inputs=call.input_fingerprints,
            library_versions={},
            files=ledger.list_files(stage, fingerprint),
            counts={"records_in": 1, "records_out": 1, "rejected": 0},
            seconds=0,
            tracking_run="run",
            finished_at="2026-01-01",
        )
    )


def test_what_was_never_made_says_so(ledger: Ledger) -> None:
    call = StageCall(FIRST, Recipe(), {})
    assert plan(ledger, call) == [
        PlannedStage("first", call.artifact.fingerprint, "miss", "never made")
    ]


def test_a_finished_artifact_is_a_hit(ledger: Ledger) -> None:
    call = StageCall(FIRST, Recipe(), {})
    finish(ledger, call)
    (planned,) = plan(ledger, call)
    assert (planned.state, planned.reason) == ("hit", "")


def test_a_miss_names_the_changed_field_with_both_values(ledger: Ledger) -> None:
    finish(ledger, StageCall(FIRST, Recipe(), {}))
    changed = Recipe(optimizer=Optimizer(steps=5), tasks=("asr", "lid"))
    (planned,) = plan(ledger, StageCall(FIRST, changed, {}))
    assert planned.state == "miss"
    assert planned.reason == "optimizer.steps: 3 -> 5; tasks: ['asr'] -> ['asr', 'lid']"


def test_a_miss_is_explained_against_the_nearest_finished_artifact(ledger: Ledger) -> None:
    finish(ledger, StageCall(FIRST, Recipe(optimizer=Optimizer(steps=9, rate=0.9)), {}))
    finish(ledger, StageCall(FIRST, Recipe(optimizer=Optimizer(steps=3)), {}))
    (planned,) = plan(ledger, StageCall(FIRST, Recipe(optimizer=Optimizer(steps=4)), {}))
    assert planned.reason == "optimizer.steps: 3 -> 4"


def test_a_changed_input_and_a_new_version_are_named(ledger: Ledger) -> None:
    finish(ledger, StageCall(SECOND, Recipe(), {"corpus": Artifact(FIRST, "a" * 64)}))
    newer = replace(SECOND, version=2)
    (planned,) = plan(ledger, StageCall(newer, Recipe(), {"corpus": Artifact(FIRST, "b" * 64)}))
    assert planned.reason == f"version: 1 -> 2; input corpus: {'a' * 12} -> {'b' * 12}"


def test_a_change_upstream_misses_downstream(ledger: Ledger) -> None:
    first = StageCall(FIRST, Recipe(), {})
    second = StageCall(SECOND, Recipe(), {"corpus": first.artifact})
    finish(ledger, first)
    finish(ledger, second)
    assert [stage.state for stage in plan(ledger, first, second)] == ["hit", "hit"]
    other = StageCall(FIRST, Recipe(tasks=("lid",)), {})
    after = StageCall(SECOND, Recipe(), {"corpus": other.artifact})
    planned = plan(ledger, other, after)
    assert [stage.state for stage in planned] == ["miss", "miss"]
    assert planned[1].reason.startswith("input corpus: ")


def test_what_was_begun_continues(ledger: Ledger) -> None:
    call = StageCall(FIRST, Recipe(), {})
    ledger.directory("first", call.artifact.fingerprint).write_bytes("scratch/half", b"x")
    (planned,) = plan(ledger, call)
    assert (planned.state, planned.reason) == (
        "continue",
        "begun by an earlier run, not finished",
    )


def test_a_damaged_artifact_is_named_with_its_file_and_left_alone(ledger: Ledger) -> None:
    call = StageCall(FIRST, Recipe(), {})
    finish(ledger, call)
    directory = ledger.directory("first", call.artifact.fingerprint)
    directory.write_bytes("data", b"012345678X")
    (planned,) = plan(ledger, call)
    assert planned.state == "damaged"
    assert planned.reason == "data: its sha256 differs from the recorded one"
    assert ledger.find("first", call.artifact.fingerprint) is not None


def test_a_stage_refuses_other_inputs_than_it_declares() -> None:
    with pytest.raises(TypeError, match=r"second reads \['corpus'\].*given \['corpse'\]"):
        StageCall(SECOND, Recipe(), {"corpse": Artifact(FIRST, "a")})


@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_has_an_estimate_that_its_hardware_holds(profile: str) -> None:
    config = load_config(profile)
    estimates = estimate_stages(config)
    assert list(estimates.unknown) == ["ingest", "start"]
    names = [stage.name for stage in chosen(config, STAGES)]
    assert [*estimates.unknown, *estimates.stages] == names
    for name, stage in estimates.stages.items():
        assert stage.fits is not False, (name, stage.notes)
        assert stage.hours > 0
    if config.resources.gpus_per_worker:
        assert estimates.cost is not None
        assert estimates.cost > 0


def test_pretraining_is_planned_with_the_steps_of_its_alignment() -> None:
    config = load_config("demo-pretrained")
    assert config.pretrain
    alone = config.model_copy(
        update={"pretrain": config.pretrain.model_copy(update={"alignment": None})}
    )
    found, without = (estimate_stages(which) for which in (config, alone))
    assert config.pretrain.alignment
    steps = config.pretrain.alignment.optimizer.steps
    assert found.stages["pretrain"].steps == without.stages["pretrain"].steps + steps
    assert found.stages["pretrain"].flops > without.stages["pretrain"].flops
    assert found.stages["sft"].steps == without.stages["sft"].steps
    assert found.assumptions[0].startswith(f"the first {steps} steps of pretrain are its alignment")


def test_what_is_out_of_reach_is_unknown_and_so_is_what_comes_after(
    ledger: Ledger, tmp_path: Path, small_manifest: Path
) -> None:
    digests = FileDigests(tmp_path / "digests.json")
    missing = load_config("tiny", ["data.manifest=/no/such.jsonl"])
    planned = plan_stages(missing, lambda: ledger, digests)
    assert [stage.stage for stage in planned] == [stage.name for stage in STAGES]
    assert {stage.state for stage in planned} == {"unknown"}
    assert "there is no manifest '/no/such.jsonl'" in planned[0].reason
    assert planned[1].reason == "comes after ingest"
    without_weights = load_config("gpu", [f"data.manifest={small_manifest}"])
    states = [stage.state for stage in plan_stages(without_weights, lambda: ledger, digests)]
    assert states == ["miss", *["unknown"] * 6]


def test_a_store_out_of_reach_leaves_everything_unknown(tmp_path: Path) -> None:
    def no_store() -> Ledger:
        raise StoreError("s3://bucket does not answer")

    planned = plan_stages(load_config("tiny"), no_store, FileDigests(tmp_path / "digests.json"))
    assert {stage.state for stage in planned} == {"unknown"}
    assert planned[0].reason == "can't be known here: s3://bucket does not answer"
