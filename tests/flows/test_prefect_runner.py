"""The production runner on a real Prefect server: what its UI will show of a run."""

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from flows.execution import StageOutcome
from flows.runners import open_tracking
from infra.settings import read_settings
from tasks.ingest import TooManyRejectedError


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own, and one Prefect server for all tests of this file."""
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("Q2A_HOME", str(home))
        for name in ("Q2A_STORE", "Q2A_TRACKING_URI", "PREFECT_API_URL"):
            patch.delenv(name, raising=False)
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=300):
            yield home


def newest_flow_run(num_tasks: int) -> tuple[Any, list[Any]]:
    """The newest flow run that the server knows, and its task runs.

    Their states reach the server as events, some time after the flow has ended.
    """
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

    async def ask() -> tuple[Any, list[Any]]:
        async with get_client() as client:
            run = (await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1))[0]
            only = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
            tasks = await client.read_task_runs(
                flow_run_filter=only, sort=TaskRunSort.EXPECTED_START_TIME_ASC
            )
            return run, tasks

    end = time.monotonic() + 300
    while True:
        run, tasks = asyncio.run(ask())
        states = [found.state for found in (run, *tasks)]
        settled = len(tasks) == num_tasks and all(s and s.is_final() for s in states)
        if settled or time.monotonic() > end:
            return run, tasks
        time.sleep(0.2)


@dataclass(frozen=True)
class Finished:
    """A run as far as pre-training, and what the servers know of it."""

    outcomes: list[StageOutcome]
    flow_run: Any
    task_runs: list[Any]
    pipeline: Run


@pytest.fixture(scope="module")
def finished(world: Path, small_manifest: Path) -> Finished:
    from flows.prefect_runner import q2a

    outcomes = q2a("tiny", data=[str(small_manifest)], until="pretrain")
    pipeline = open_tracking(read_settings()).pipelines()[0]
    return Finished(outcomes, *newest_flow_run(num_tasks=3), pipeline)


def test_a_run_shows_a_flow_and_a_task_a_stage_by_name(finished: Finished) -> None:
    assert [outcome.stage for outcome in finished.outcomes] == ["ingest", "start", "pretrain"]
    name = rf"tiny manifest\.jsonl {date.today().year}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(name, finished.flow_run.name)
    assert finished.flow_run.state_name == "Completed"
    expected = [f"{o.stage} {o.record.fingerprint[:8]}" for o in finished.outcomes]
    assert sorted(task.name for task in finished.task_runs) == sorted(expected)
    assert {task.state_name for task in finished.task_runs} == {"Completed"}
    assert finished.pipeline.info.status == "FINISHED"


def test_a_failed_stage_fails_its_task_and_its_flow(tmp_path: Path, small_manifest: Path) -> None:
    from flows.prefect_runner import q2a

    rows = [json.loads(line) for line in small_manifest.read_text().splitlines()]
    broken = tmp_path / "broken.jsonl"
    broken.write_text(
        "".join(json.dumps(row | {"audio": f"/no/such/{row['id']}.wav"}) + "\n" for row in rows)
    )
    with pytest.raises(TooManyRejectedError, match="records were rejected"):
        q2a("tiny", overrides=[f"data.manifest={broken}"], until="ingest")
    run, (task,) = newest_flow_run(num_tasks=1)
    assert run.state_name == "Failed"
    assert task.name.startswith("ingest ")
    assert task.state_name == "Failed"
    assert "TooManyRejectedError" in task.state.message
    pipeline = open_tracking(read_settings()).pipelines()[0]
    assert pipeline.info.status == "FAILED"
    (stage,) = open_tracking(read_settings()).children_of(pipeline.info.run_id)
    assert stage.info.status == "FAILED"
    assert stage.data.tags["q2a.error"].startswith("TooManyRejectedError: ")


def test_the_runner_reads_its_world_from_the_environment(world: Path, finished: Finished) -> None:
    assert Path(os.environ["Q2A_HOME"]) == world
    assert (world / "store" / "pretrain").is_dir()
