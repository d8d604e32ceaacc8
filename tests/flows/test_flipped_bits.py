"""One flipped bit, half a file or a missing file in every kind of file that a stage leaves.

What stages write is watched, so that a kind which is not in their tables fails a test.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.stage_record import RECORD
from infra.ledger import Ledger
from infra.storage.store import Store
from tests.support.interrupted_stages import DAMAGES, STAGES, InterruptedStage, contents
from tests.support.tiny_run import TinyRun

QUICK = {
    ("collect_preferences", "scratch/answers-*.jsonl", "one bit flipped"),
    ("dpo", "reference_log_probs.json", "one bit flipped"),
    ("evaluate", "scratch/predictions-*.jsonl", "second half lost"),
    ("pretrain", "scratch/initial/*.safetensors", "one bit flipped"),
    ("pretrain", "scratch/alignment/checkpoint/*", "one bit flipped"),
    ("pretrain", "scratch/states/*/position.json", "one bit flipped"),
}
"""The others are drills."""
REPORTED = {(stage, kind) for stage, kind, _ in QUICK}
"""Kinds whose damage is in the log, also where the result does not need the file any more."""


@pytest.fixture(scope="session")
def interrupted(
    tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], InterruptedStage]:
    """Stages that were interrupted, each once a session."""
    made: dict[str, InterruptedStage] = {}

    def stage(name: str) -> InterruptedStage:
        if name not in made:
            made[name] = InterruptedStage(name, tiny_run, tmp_path_factory.mktemp(name))
        return made[name]

    return stage


def cases() -> list[object]:
    """Every stage, kind and damage."""
    return [
        pytest.param(
            stage, kind, damage, id=f"{stage}, {kind}, {damage}",
            marks=() if (stage, kind, damage) in QUICK else pytest.mark.drill,
        )
        for stage, kinds in STAGES.items() for kind in kinds.begun for damage in DAMAGES
    ]  # fmt: skip


@pytest.mark.parametrize(("stage", "kind", "damage"), cases())
def test_a_damaged_file_of_an_interrupted_stage_is_made_again(
    interrupted: Callable[[str], InterruptedStage],
    tmp_path: Path,
    stage: str,
    kind: str,
    damage: str,
) -> None:
    begun = interrupted(stage)
    folder = begun.copy(tmp_path / "artifact")
    keys = [key for key in Store(str(folder)).list_keys() if STAGES[stage].of(key) == kind]
    DAMAGES[damage](folder / keys[0])
    lines = begun.make(folder)
    assert contents(Store(str(folder))) == begun.undisturbed
    if (stage, kind) in REPORTED:
        assert any("is made again" in line or "00000002 is skipped" in line for line in lines)


@pytest.mark.drill
@pytest.mark.parametrize("stage", STAGES)
def test_the_kinds_are_all_that_a_stage_writes_and_leaves(
    interrupted: Callable[[str], InterruptedStage], tmp_path: Path, stage: str
) -> None:
    begun, kinds = interrupted(stage), STAGES[stage]
    left = Store(str(begun.begun)).list_keys()
    assert {kinds.of(key) for key in left} == set(kinds.begun)
    folder = begun.copy(tmp_path / "artifact")
    begun.make(folder)
    assert contents(Store(str(folder))) == begun.undisturbed
    everything = begun.written | set(Store(str(folder)).list_keys())
    assert [key for key in sorted(everything) if kinds.of(key) is None] == []
    assert {kinds.of(key) for key in everything} == {*kinds.begun, *kinds.later}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_file_of_a_finished_artifact_is_found(
    tiny_run: TinyRun, tmp_path: Path, stage: str, damage: str
) -> None:
    artifact = tiny_run.artifact(stage)
    identity = artifact.url.rpartition("/")[2]
    store = Store(str(tmp_path))
    store.upload(Path(artifact.url), f"{stage}/{identity}")
    ledger, folder = Ledger(store, tmp_path / "locks"), tmp_path / stage / identity
    for key in artifact.list_keys():
        before = (folder / key).read_bytes()
        DAMAGES[damage](folder / key)
        if (folder / key).is_file() and (folder / key).read_bytes() == before:
            continue  # an empty file has no second half
        record = ledger.find(stage, identity)
        if key == RECORD:
            assert record is None
        else:
            assert record is not None
            assert [found.path for found in ledger.verify(record)] == [key]
        (folder / key).write_bytes(before)


@pytest.mark.drill
@pytest.mark.parametrize("stage", STAGES)
def test_a_finished_artifact_that_lost_a_file_becomes_what_it_was(
    interrupted: Callable[[str], InterruptedStage], tmp_path: Path, stage: str
) -> None:
    """Each of them in its turn, as the ledger discards it; scratch files are gone by then."""
    begun, kinds = interrupted(stage), STAGES[stage]
    whole = tmp_path / "whole"
    begun.make(begun.copy(whole))
    Store(str(whole)).delete("scratch")
    keys = {kinds.of(key): key for key in Store(str(whole)).list_keys()}
    for number, key in enumerate(keys.values()):
        folder = tmp_path / str(number)
        Store(str(folder)).upload(whole, ".")
        (folder / key).unlink()
        begun.make(folder)
        assert contents(Store(str(folder))) == begun.undisturbed, key
