"""One stage's execution: the order of events, and what is left behind when something breaks.

The stages here are small stand-ins; ledger, store and MLflow are real.
"""

import json
import threading
from pathlib import Path

import pytest

from data_contracts.stage_record import StageRecord
from flows.execution import execute
from flows.stage import Source
from tests.support.workshop import ROWS, Recipe, Workshop, check_values, only_run


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
    assert run.data.metrics["mean"] == 6
    files = {file.path for file in shop.client.list_artifacts(run.info.run_id)}
    expected = {"contracts_in.html", "contracts_in.json", "contracts_out.html", "page.html"}
    assert expected | {"contracts_out.json", "record.json"} == files
    path = shop.client.download_artifacts(run.info.run_id, "contracts_out.json", str(tmp_path))
    tables = [contract["table"] for contract in json.loads(Path(path).read_text())]
    assert tables == ["two", "sum of two"]


def test_every_input_is_checked_and_shown(shop: Workshop, tmp_path: Path) -> None:
    session = shop.session()
    first = execute(session, shop.call("one", Recipe(values=(20, 21))))
    second = execute(session, shop.call("two", Recipe(values=(22,))))
    source = Source("d" * 64, Recipe(values=(5,)), lambda: [check_values([1, 2, 3], "source")])
    call = shop.call("three", Recipe(values=(23,)), source, corpus=first, pairs=second)
    shop.events.clear()
    execute(session, call)
    assert shop.events[:3] == ["check one", "check two", "work on (5,)"]
    run = shop.tracking.producer_of(call.artifact.fingerprint)
    assert run is not None
    shown = {
        found.dataset.name: json.loads(found.dataset.profile)["sha256"]
        for found in run.inputs.dataset_inputs
    }
    assert shown == {
        "corpus": first.fingerprint, "pairs": second.fingerprint, "source": "d" * 64
    }  # fmt: skip
    path = shop.client.download_artifacts(run.info.run_id, "contracts_in.json", str(tmp_path))
    tables = [contract["table"] for contract in json.loads(Path(path).read_text())]
    assert tables == ["source", "one", "sum of one", "two", "sum of two"]


def test_a_stage_with_inputs_is_made_anew_when_its_source_changes(shop: Workshop) -> None:
    session = shop.session()
    first = execute(session, shop.call("one", Recipe(values=(24,))))
    made = []
    for digest in ("a" * 64, "b" * 64):
        source = Source(digest, Recipe(), lambda: [])
        call = shop.call("two", Recipe(values=(25,)), source, corpus=first)
        made.append(execute(session, call).fingerprint)
        record = shop.ledger.find("two", made[-1])
        assert record is not None
        assert record.inputs == {"corpus": first.fingerprint, "source": digest}
    assert [outcome.hit for outcome in session.outcomes] == [False, False, False]
    assert made[0] != made[1]


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


def test_the_pipelines_run_and_the_model_show_the_headline_after_work_and_after_a_hit(
    shop: Workshop,
) -> None:
    call = shop.call("one", Recipe(values=(30, 31)))
    for _ in range(2):
        session = shop.session()
        execute(session, call)
        metrics = shop.client.get_run(session.parent.run_id).data.metrics
        assert metrics == {"one.sum": 61}
        version = shop.client.get_model_version_by_alias(session.model_name, "one")
        assert version.tags["q2a.metric.sum"] == "61"


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
    assert alias.source == f"{directory.url}/checkpoint"
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


def test_two_sessions_at_one_artifact_make_it_once(shop: Workshop) -> None:
    call = shop.call("one", Recipe(values=(15,)))
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(300), "nobody waits for the lock"

    shop.failure = wait
    sessions = [shop.session(), shop.session()]
    sessions[1].progress = lambda text: go_on.set() if "waits for another run" in text else None
    threads = [threading.Thread(target=execute, args=(s, call)) for s in sessions]
    threads[0].start()
    assert begun.wait(300)
    threads[1].start()
    for thread in threads:
        thread.join(300)
    assert shop.events.count("work") == 1
    assert [session.outcomes[0].hit for session in sessions] == [False, True]
