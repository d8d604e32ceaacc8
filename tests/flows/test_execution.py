"""One stage's execution: the order of events, and what is left behind when something breaks.

The stages here are small stand-ins; ledger, store and MLflow are real.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts.contract import Contract, Rule
from data_contracts.contract_result import ContractBreachError, ContractResult
from data_contracts.recipe import Recipe as BaseRecipe
from data_contracts.stage_record import StageRecord
from data_contracts.validation import validate
from flows.execution import Session, execute
from flows.stage import Artifact, Source, Stage, StageCall
from infra.compute.in_process import InProcess
from infra.compute.resources import Resources
from infra.ledger import Ledger
from infra.storage.store import Store
from infra.tracking import Tracking
from tasks.context import StageContext, StageResult

ROWS = "rows.json"
POSITIVE = Contract(
    name="rows",
    id_column="id",
    columns=("id", "value"),
    nullable=(),
    rules=(
        Rule(
            "rows.value_is_positive",
            "value",
            "expect_column_values_to_be_between",
            "Raise the value above 0.",
            {"min_value": 1},
        ),
    ),
)


class Recipe(BaseRecipe):
    values: tuple[int, ...] = (1, 2, 3)


@dataclass
class Workshop:
    """A world in which stages run, and the events that they leave."""

    home: Path
    events: list[str] = field(default_factory=list)
    failure: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.ledger = Ledger(Store(str(self.home / "store")), self.home / "locks")
        self.tracking = Tracking(f"sqlite:///{self.home}/mlflow.db", self.home / "artifacts")
        self.client = MlflowClient(self.tracking.uri)

    def session(self) -> Session:
        return Session(
            ledger=self.ledger,
            tracking=self.tracking,
            parent=self.tracking.start_pipeline("test", {}),
            compute=InProcess(),
            resources=Resources(backend="process"),
            scratch=self.home / "scratch",
            model_name=f"model-{self.home.name}",
            progress=lambda text: self.events.append(f"progress {text.split(' in ')[0]}"),
        )

    def make(self, context: StageContext, recipe: Recipe) -> StageResult:
        """Copy the recipe's values into a file, in two steps of which the first is kept."""
        self.events.append("work")
        if context.directory.exists("scratch/half"):
            self.events.append("continue")
        context.directory.write_text("scratch/half", "half")
        self.failure()
        context.directory.write_text(ROWS, json.dumps(recipe.values))
        context.directory.write_text("page.html", "<p>page</p>")
        number = len(recipe.values)
        return StageResult(number, number, metrics={"mean": sum(recipe.values) / number})

    def check(self, label: str, directory: Store) -> list[ContractResult]:
        self.events.append(f"check {label}")
        return [check_values(json.loads(directory.read_text(ROWS)), label)]

    def stage(self, name: str, *inputs: str) -> Stage:
        return Stage(
            name,
            1,
            inputs,
            self.make,
            partial(self.check, name),
            registers_model=name,
            pages=("page.html",),
        )

    def call(
        self, name: str, recipe: Recipe, source: Source | None = None, **inputs: Artifact
    ) -> StageCall:
        return StageCall(self.stage(name, *inputs), recipe, inputs, source)


def check_values(values: list[int], name: str) -> ContractResult:
    frame = pd.DataFrame({"id": [f"row {i}" for i in range(len(values))], "value": values})
    return validate(POSITIVE, frame, name)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One MLflow data base for all tests of this file: making one takes five seconds."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(autouse=True)
def fresh(shop: Workshop) -> None:
    shop.events.clear()
    shop.failure = lambda: None


def only_run(shop: Workshop, session: Session) -> Run:
    (run,) = shop.tracking.children_of(session.parent.run_id)
    return run


def test_contracts_frame_the_work_and_the_record_comes_last(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = shop.session()
    first = execute(session, shop.call("one", Recipe()))
    shop.events.clear()
    complete = shop.ledger.complete

    def noted(record: StageRecord) -> None:
        shop.events.append("record")
        complete(record)

    monkeypatch.setattr(shop.ledger, "complete", noted)
    execute(session, shop.call("two", Recipe(), corpus=first))
    assert shop.events == ["check one", "work", "check two", "record", "progress two: done"]


def test_the_run_shows_recipe_inputs_contracts_pages_and_results(
    shop: Workshop, tmp_path: Path
) -> None:
    session = shop.session()
    first = execute(session, shop.call("one", Recipe(values=(4, 5))))
    call = shop.call("two", Recipe(values=(6,)), corpus=first)
    execute(session, call)
    run = shop.tracking.producer_of(call.artifact.fingerprint)
    assert run is not None
    assert run.data.params == {"values": "[6]"}
    assert run.data.tags["q2a.input.corpus"] == first.fingerprint
    assert run.data.tags["mlflow.parentRunId"] == session.parent.run_id
    (dataset,) = run.inputs.dataset_inputs
    assert json.loads(dataset.dataset.profile) == {"num_rows": 2, "sha256": first.fingerprint}
    assert run.data.metrics["records_out"] == 1
    assert run.data.metrics["final.mean"] == 6
    files = {file.path for file in shop.client.list_artifacts(run.info.run_id)}
    expected = {"contracts_in.html", "contracts_in.json", "contracts_out.html", "page.html"}
    assert expected | {"contracts_out.json", "record.json"} == files
    path = shop.client.download_artifacts(run.info.run_id, "contracts_out.json", str(tmp_path))
    (contract,) = json.loads(Path(path).read_text())
    assert contract["table"] == "two"


def test_the_record_says_what_was_read_and_left(shop: Workshop) -> None:
    session = shop.session()
    call = shop.call("one", Recipe(values=(7,)))
    execute(session, call)
    record = shop.ledger.find("one", call.artifact.fingerprint)
    assert record is not None
    assert record.recipe == {"values": [7]}
    assert [file.path for file in record.files] == ["page.html", ROWS]
    assert record.counts == {"records_in": 1, "records_out": 1, "rejected": 0}
    assert record.tracking_run == only_run(shop, session).info.run_id
    assert record.library_versions["torch"].startswith("2.")


def test_the_model_is_registered_once_with_its_place_in_the_store(shop: Workshop) -> None:
    session = shop.session()
    call = shop.call("registered", Recipe())
    for _ in range(2):
        execute(session, call)
    versions = [
        version
        for version in shop.client.search_model_versions(f"name = '{session.model_name}'")
        if version.tags["q2a.fingerprint"] == call.artifact.fingerprint
    ]
    assert len(versions) == 1
    alias = shop.client.get_model_version_by_alias(session.model_name, "registered")
    assert alias.version == versions[0].version
    directory = shop.ledger.directory("registered", call.artifact.fingerprint)
    assert alias.source == directory.url
    assert alias.run_id == only_run(shop, session).info.run_id


def test_a_second_session_hits_and_points_at_the_first_ones_run(shop: Workshop) -> None:
    first, second = shop.session(), shop.session()
    call = shop.call("one", Recipe(values=(8,)))
    execute(first, call)
    shop.events.clear()
    execute(second, call)
    assert shop.events == ["progress one: hit"]
    assert shop.tracking.children_of(second.parent.run_id) == []
    tags = shop.client.get_run(second.parent.run_id).data.tags
    assert tags["q2a.hit.one"] == only_run(shop, first).info.run_id
    assert tags["q2a.artifact.one"] == call.artifact.fingerprint
    assert second.outcomes[0].hit
    assert not first.outcomes[0].hit


def test_an_output_that_breaks_its_contract_is_never_recorded(shop: Workshop) -> None:
    session = shop.session()
    call = shop.call("one", Recipe(values=(1, -2)))
    with pytest.raises(ContractBreachError, match=r"rows\.value_is_positive"):
        execute(session, call)
    assert shop.ledger.find("one", call.artifact.fingerprint) is None
    run = only_run(shop, session)
    assert run.info.status == "FAILED"
    assert run.data.tags["q2a.error"].startswith("ContractBreachError: ")
    assert "'row 1': -2" in run.data.tags["q2a.error"]
    files = {file.path for file in shop.client.list_artifacts(run.info.run_id)}
    assert "contracts_out.html" in files


def test_a_source_that_breaks_its_contract_stops_before_any_work(shop: Workshop) -> None:
    session = shop.session()
    bad = Source("digest-1", Recipe(), lambda: [check_values([0], "source")])
    call = shop.call("sourced", Recipe(), bad)
    with pytest.raises(ContractBreachError):
        execute(session, call)
    assert "work" not in shop.events
    assert only_run(shop, session).info.status == "FAILED"


def test_a_stage_that_raises_keeps_its_folder_and_the_next_run_continues(shop: Workshop) -> None:
    session = shop.session()
    call = shop.call("one", Recipe(values=(9,)))

    def fail() -> None:
        raise FloatingPointError("the loss is nan")

    shop.failure = fail
    with pytest.raises(FloatingPointError):
        execute(session, call)
    run = only_run(shop, session)
    assert run.info.status == "FAILED"
    assert run.data.tags["q2a.error"] == "FloatingPointError: the loss is nan"
    shop.failure = lambda: None
    shop.events.clear()
    execute(session, call)
    assert "continue" in shop.events
    directory = shop.ledger.directory("one", call.artifact.fingerprint)
    assert "scratch/half" not in directory.list_keys()


def test_an_interrupted_stage_is_killed_not_failed(shop: Workshop) -> None:
    session = shop.session()

    def interrupt() -> None:
        raise KeyboardInterrupt

    shop.failure = interrupt
    with pytest.raises(KeyboardInterrupt):
        execute(session, shop.call("one", Recipe(values=(10,))))
    assert only_run(shop, session).info.status == "KILLED"


def test_a_damaged_file_is_named_and_made_again(shop: Workshop) -> None:
    session = shop.session()
    call = shop.call("one", Recipe(values=(11,)))
    execute(session, call)
    directory = shop.ledger.directory("one", call.artifact.fingerprint)
    before = shop.ledger.find("one", call.artifact.fingerprint)
    assert before is not None
    directory.write_text(ROWS, "[12]")
    shop.events.clear()
    execute(session, call)
    assert shop.events[0].startswith(f"progress one: {ROWS} is damaged")
    assert "work" in shop.events
    after = shop.ledger.find("one", call.artifact.fingerprint)
    assert after is not None
    assert after.files == before.files
    assert shop.ledger.verify(after) == []


def test_a_hit_without_its_tracking_run_gets_one_from_the_record(
    shop: Workshop, tmp_path: Path
) -> None:
    """After a crash between record and log, or with a new MLflow data base."""
    session = shop.session()
    call = shop.call("one", Recipe(values=(13,)))
    execute(session, call)
    first = only_run(shop, session)
    shop.client.set_terminated(first.info.run_id, "KILLED")
    second = shop.session()
    execute(second, call)
    run = only_run(shop, second)
    producer = shop.tracking.producer_of(call.artifact.fingerprint)
    assert producer is not None
    assert producer.info.run_id == run.info.run_id
    assert run.data.metrics["records_out"] == 1
    assert "page.html" in {f.path for f in shop.client.list_artifacts(run.info.run_id)}
    tags = shop.client.get_run(second.parent.run_id).data.tags
    assert tags["q2a.hit.one"] == run.info.run_id


def test_the_run_of_a_dead_process_is_ended_by_its_successor(shop: Workshop) -> None:
    session = shop.session()
    call = shop.call("one", Recipe(values=(14,)))
    dead = shop.tracking.start_stage(session.parent, "one", call.artifact.fingerprint, {})
    execute(session, call)
    assert shop.client.get_run(dead.run_id).info.status == "KILLED"


def test_two_sessions_at_one_artifact_make_it_once(
    shop: Workshop, when_a_lock_is_waited_for: Callable[[Callable[[], object]], None]
) -> None:
    call = shop.call("one", Recipe(values=(15,)))
    begun, go_on = threading.Event(), threading.Event()
    when_a_lock_is_waited_for(go_on.set)

    def wait() -> None:
        begun.set()
        assert go_on.wait(300), "nobody waits for the lock"

    shop.failure = wait
    sessions = [shop.session(), shop.session()]
    threads = [threading.Thread(target=execute, args=(s, call)) for s in sessions]
    threads[0].start()
    assert begun.wait(300)
    threads[1].start()
    for thread in threads:
        thread.join(300)
    assert shop.events.count("work") == 1
    assert [session.outcomes[0].hit for session in sessions] == [False, True]
    assert any("waited for another run" in event for event in shop.events)
