"""A store that was moved, a home that was copied: what is registered and logged is found again."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.adoption import Adoption, AdoptionError, adopt
from infra.registry import Checkpoint, Registry
from infra.storage.store import Store
from infra.tracking import Tracking

ONE, OTHER, GONE = ("1" * 64, "2" * 64, "3" * 64)


def open_home(home: Path) -> Tracking:
    return Tracking(f"sqlite:///{home}/mlflow.db", home / "mlartifacts")


def register(tracking: Tracking, store: Path, fingerprint: str, alias: str) -> None:
    run = tracking.start_stage(tracking.start_pipeline("tiny", {"a": 1}), "sft", fingerprint, {})
    run.dataset("corpus", fingerprint, f"{store}/sft/{fingerprint}", 3)
    checkpoint = Checkpoint(
        f"{store}/sft/{fingerprint}/checkpoint", "sft", fingerprint, run.run_id, {"loss": 0.5}
    )
    Registry(tracking.uri).register("model", alias, checkpoint)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home: its store has two artifacts, its registry a third one too."""
    home = tmp_path_factory.mktemp("template") / "home"
    home.mkdir()
    tracking = open_home(home)
    for fingerprint, alias in ((ONE, "sft"), (OTHER, "dpo"), (GONE, "base")):
        register(tracking, home / "store", fingerprint, alias)
    for fingerprint in (ONE, OTHER):
        artifact = home / "store" / "sft" / fingerprint
        (artifact / "checkpoint").mkdir(parents=True)
        (artifact / "checkpoint" / "config.json").write_text(fingerprint)
        (artifact / "record.json").write_text("{}")
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of a home that is gone, in which nothing was adopted yet."""
    shutil.copytree(template, tmp_path / "home")
    return tmp_path / "home"


def paths_in(home: Path) -> list[str]:
    """Every path in the database, whatever its table and column."""
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        return [line for line in connection.iterdump() if line.startswith("INSERT")]


def test_a_copied_home_leads_to_its_own_store_and_files(home: Path, template: Path) -> None:
    tracking = open_home(home)
    done = adopt(tracking, home / "mlartifacts", Store(str(home / "store")))
    assert done == Adoption(versions=2, elsewhere=1, runs=6)
    registry = Registry(tracking.uri)
    for alias, fingerprint in (("sft", ONE), ("dpo", OTHER)):
        folder = Path(registry.location(f"models:/model@{alias}"))
        assert folder == home / "store" / "sft" / fingerprint / "checkpoint"
        assert (folder / "config.json").read_text() == fingerprint
    client = MlflowClient(tracking.uri)
    version = client.get_model_version_by_alias("model", "sft")
    assert (version.version, version.source) == (1, registry.location("models:/model@sft"))
    # What is not in the store keeps its path, and nothing else names the other home.
    left = [line for line in paths_in(home) if f"{template}/" in line]
    assert left
    assert all(GONE in line for line in left)
    _, values = tracking.reopen_pipeline(tracking.pipelines()[0].info.run_id)
    assert values == {"a": 1}


def test_runs_after_the_adoption_keep_their_files_in_the_new_home(
    home: Path, template: Path
) -> None:
    before = sorted(template.rglob("*"))
    adopt(open_home(home), home / "mlartifacts", Store(str(home / "store")))
    run = open_home(home).start_pipeline("later", {})
    assert (home / "mlartifacts" / run.run_id / "artifacts" / "config.json").is_file()
    assert sorted(template.rglob("*")) == before


def test_a_store_that_was_moved_is_found_and_adopting_it_again_changes_nothing(
    home: Path, tmp_path: Path
) -> None:
    tracking = open_home(home)
    adopt(tracking, home / "mlartifacts", Store(str(home / "store")))
    (home / "store").rename(tmp_path / "moved")
    store = Store(str(tmp_path / "moved"))
    assert adopt(tracking, home / "mlartifacts", store) == Adoption(2, 1, 0)
    folder = Path(Registry(tracking.uri).location("models:/model/2"))
    assert (folder / "config.json").read_text() == OTHER
    after = paths_in(home)
    assert adopt(tracking, home / "mlartifacts", store) == Adoption(0, 1, 0)
    assert paths_in(home) == after


def test_data_sets_of_runs_follow(home: Path) -> None:
    tracking = open_home(home)
    adopt(tracking, home / "mlartifacts", Store(str(home / "store")))
    runs = [
        run for parent in tracking.pipelines() for run in tracking.children_of(parent.info.run_id)
    ]
    (run,) = [run for run in runs if run.data.tags["q2a.fingerprint"] == ONE]
    (logged,) = MlflowClient(tracking.uri).get_run(run.info.run_id).inputs.dataset_inputs
    assert json.loads(logged.dataset.source) == {"uri": f"{home}/store/sft/{ONE}"}


def test_without_a_file_of_its_own_a_version_is_registered_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a server, whose database is not ours to change."""
    monkeypatch.setattr("infra.adoption.database_file", lambda _: None)
    tracking = open_home(home)
    done = adopt(tracking, home / "mlartifacts", Store(str(home / "store")))
    assert done == Adoption(versions=2, elsewhere=1, runs=0)
    version = MlflowClient(tracking.uri).get_model_version_by_alias("model", "dpo")
    assert version.source == f"{home}/store/sft/{OTHER}/checkpoint"
    assert int(version.version) > 3
    assert version.tags["q2a.metric.loss"] == "0.5"


def test_a_folder_that_is_no_store_is_refused_and_nothing_changes(home: Path) -> None:
    before = paths_in(home)
    with pytest.raises(AdoptionError, match=r"has no finished artifact .*such as runs/store"):
        adopt(open_home(home), home / "mlartifacts", Store(str(home)).below("mlartifacts"))
    assert paths_in(home) == before
