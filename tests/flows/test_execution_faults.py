"""What becomes of an artifact when a contract, a stage or a process breaks."""

import os
from pathlib import Path

import pytest

from data_contracts.contract_result import ContractBreachError
from flows.execution import execute
from flows.stage import Source
from infra.ledger import Ledger, LockError
from tests.support.users import as_user
from tests.support.workshop import ROWS, Recipe, Workshop, check_values, only_run


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


@pytest.mark.parametrize(
    ("values", "rule"), [((1, -3), r"rows\.value_is_positive"), ((1, 2000), r"sum\.is_small")]
)
def test_each_contract_of_an_output_is_enforced(
    shop: Workshop, values: tuple[int, ...], rule: str
) -> None:
    call = shop.call("one", Recipe(values=values))
    with pytest.raises(ContractBreachError, match=rule):
        execute(shop.session(), call)
    assert shop.ledger.find("one", call.artifact.fingerprint) is None


@pytest.mark.parametrize("content", ["[-1]", "[2000]"])
@pytest.mark.parametrize("changed", ["one", "two"])
def test_each_contract_of_each_input_is_enforced_before_any_work(
    shop: Workshop, changed: str, content: str
) -> None:
    session = shop.session()
    first = execute(session, shop.call("one", Recipe(values=(30,))))
    second = execute(session, shop.call("two", Recipe(values=(31,))))
    artifact = first if changed == "one" else second
    shop.ledger.directory(changed, artifact.fingerprint).write_text(ROWS, content)
    shop.events.clear()
    with pytest.raises(ContractBreachError, match=rf"^(sum of )?{changed} "):
        execute(session, shop.call("three", Recipe(), corpus=first, pairs=second))
    assert "work" not in shop.events
    shop.ledger.directory(changed, artifact.fingerprint).delete("record.json")


def test_a_source_that_breaks_its_contract_stops_before_any_work(shop: Workshop) -> None:
    session = shop.session()
    bad = Source("digest-1", Recipe(), lambda: [check_values([0], "source")])
    call = shop.call("sourced", Recipe(), bad)
    with pytest.raises(ContractBreachError):
        execute(session, call)
    assert shop.events == []
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
    """After a crash between record and log, or with a new MLflow database."""
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


def test_what_killed_writers_left_in_a_finished_artifact_is_gone_after_a_hit(
    shop: Workshop,
) -> None:
    call = shop.call("one", Recipe(values=(16,)))
    execute(shop.session(), call)
    directory = shop.ledger.directory("one", call.artifact.fingerprint)
    finished = directory.list_keys()
    dead = Path(directory.path(f"{ROWS}.partial-0badcafe"))
    dead.write_bytes(b"half")
    directory.write_text("scratch/states/00000002/position.json", "killed after the record")

    with directory.create("page.html") as living:
        living.write(b"<p>page</p>")
        execute(shop.session(), call)

    assert not dead.exists()
    assert directory.list_keys() == finished
    assert directory.read_text("page.html") == "<p>page</p>"


def test_a_user_who_may_only_read_the_store_gets_hits_and_an_error_that_names_the_rest(
    shop: Workshop, tmp_path: Path
) -> None:
    """The system refuses root nothing, so another user runs."""
    call = shop.call("one", Recipe(values=(17,)))
    missing = shop.call("one", Recipe(values=(18,)))
    execute(shop.session(), call)
    directory = shop.ledger.directory("one", call.artifact.fingerprint)
    leftover = Path(directory.path(f"{ROWS}.partial-0badcafe"))
    leftover.write_bytes(b"half")
    reader = Workshop(tmp_path)
    reader.ledger = Ledger(shop.ledger.store, tmp_path / "locks")
    session = reader.session()
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, 65534, 65534)

    def hits() -> bool:
        execute(session, call)
        with pytest.raises(LockError, match=r"has to be made.*Permission denied.*Q2A_STORE"):
            execute(session, missing)
        return session.outcomes[0].hit and "work" not in reader.events

    assert as_user(65534, Path(shop.ledger.store.url), hits)
    assert leftover.exists()
