"""The production runner on a real Prefect server: what its UI will show of a run."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.config import load_config
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

        with prefect_test_harness(server_startup_timeout=120):
            yield home


def flow_runs() -> list[Any]:
    """All flow runs that the server knows, the newest first, each with its task runs."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

    async def ask() -> list[Any]:
        async with get_client() as client:
            runs = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC)
            found = []
            for run in runs:
                only = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
                tasks = await client.read_task_runs(
                    flow_run_filter=only, sort=TaskRunSort.EXPECTED_START_TIME_ASC
                )
                found.append((run, tasks))
            return found

    return asyncio.run(ask())


def test_a_run_shows_a_flow_and_a_task_a_stage_by_name(small_manifest: Path) -> None:
    from flows.prefect_runner import q2a

    config = load_config("tiny", [f"data.manifest={small_manifest}"])
    outcomes = q2a(config, until="pretrain")
    assert [outcome.stage for outcome in outcomes] == ["ingest", "pretrain"]
    run, tasks = flow_runs()[0]
    assert run.name == "tiny"
    assert run.state_name == "Completed"
    expected = [f"{o.stage} {o.record.fingerprint[:8]}" for o in outcomes]
    assert sorted(task.name for task in tasks) == expected
    assert {task.state_name for task in tasks} == {"Completed"}
    (pipeline,) = open_tracking(read_settings()).pipelines()
    assert pipeline.info.status == "FINISHED"


def test_a_failed_stage_fails_its_task_and_its_flow(tmp_path: Path, small_manifest: Path) -> None:
    from flows.prefect_runner import q2a

    rows = [json.loads(line) for line in small_manifest.read_text().splitlines()]
    broken = tmp_path / "broken.jsonl"
    broken.write_text(
        "".join(json.dumps(row | {"audio": f"/no/such/{row['id']}.wav"}) + "\n" for row in rows)
    )
    config = load_config("tiny", [f"data.manifest={broken}"])
    with pytest.raises(TooManyRejectedError, match="records were rejected"):
        q2a(config, until="ingest")
    run, (task,) = flow_runs()[0]
    assert run.state_name == "Failed"
    assert task.name.startswith("ingest ")
    assert task.state_name == "Failed"
    assert "TooManyRejectedError" in task.state.message
    pipeline = open_tracking(read_settings()).pipelines()[0]
    assert pipeline.info.status == "FAILED"
    (stage,) = open_tracking(read_settings()).children_of(pipeline.info.run_id)
    assert stage.info.status == "FAILED"
    assert stage.data.tags["q2a.error"].startswith("TooManyRejectedError: ")


def test_the_runner_reads_its_world_from_the_environment(world: Path) -> None:
    assert Path(os.environ["Q2A_HOME"]) == world
    assert (world / "store" / "pretrain").is_dir()
