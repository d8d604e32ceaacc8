"""The production runner: the pipeline as a Prefect flow, each stage a task run.

Prefect shows, schedules and logs; what is finished is decided by the ledger alone. Prefect's cache
is off: its key holds the flow run, and it never looks whether the artifacts are still there.
"""

from typing import Any

from prefect import Flow, State, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun

from flows.execution import StageOutcome, execute
from flows.pipeline import config_type, pipeline
from flows.run_log import print_line
from flows.runners import Until, open_tracking, session
from flows.stage import Artifact, StageCall
from infra.settings import read_settings

CONFIG = config_type()
"""Class of the flow's parameter `config`, whose fields Prefect's UI shows as a form."""


def _announce(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Print what becomes of a run of a deployment, for whoever watches `q2a serve`."""
    if flow_run.deployment_id is not None:
        name = f"{flow.name} run {flow_run.name} {flow_run.id}"
        reason = f": {state.message}" if state.message else ""
        print_line(f"{name} is {state.name}{reason}")


@flow(
    name="q2a",
    flow_run_name="{config.profile}",
    persist_result=False,
    on_running=[_announce],
    on_completion=[_announce],
    on_failure=[_announce],
    on_crashed=[_announce],
    on_cancellation=[_announce],
)
def q2a(
    config: CONFIG,  # type: ignore[valid-type]
    parent_run: str | None = None,
    until: str | None = None,
) -> list[StageOutcome]:
    """Turn recordings into an evaluated Qwen2-Audio checkpoint.

    Args:
        config: all recipes and resources.
        parent_run: MLflow id of a pipeline run to continue; empty begins a new one.
        until: name of the last stage to run; empty runs all.
    """
    settings = read_settings()
    logger = get_run_logger()

    def progress(text: str) -> None:
        print_line(text)
        # The mark says that the run's log file has the line already.
        logger.info(text, extra={"q2a_progress": True})

    parent = open_tracking(settings).reopen_pipeline(parent_run)[0] if parent_run else None
    with session(config, settings, progress, parent) as opened:

        def run(call: StageCall) -> Artifact:
            @task(
                name=call.stage.name,
                task_run_name=f"{call.stage.name} {call.artifact.fingerprint[:8]}",
                cache_policy=NO_CACHE,
                persist_result=False,
            )
            def stage_task() -> Artifact:
                return execute(opened, call)

            return stage_task()

        pipeline(config, Until(until, run) if until else run)
    return opened.outcomes
