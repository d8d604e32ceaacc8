"""The production runner: the pipeline as a Prefect flow, each stage a task run.

Prefect shows, schedules and logs; what is finished is decided by the ledger alone. Prefect's cache
is off: its key holds the flow run, and it never looks whether the artifacts are still there.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from prefect import Flow, State, flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun

from flows.execution import StageOutcome, execute
from flows.pipeline import pipeline
from flows.preflight import refuse_machine
from flows.run_log import print_line
from flows.run_request import RunRequest
from flows.runners import prepared, session
from flows.stage import Artifact, StageCall
from infra.settings import read_settings

StageName = Literal["ingest", "start", "pretrain", "sft", "collect_preferences", "dpo", "evaluate"]
"""Names among which Prefect's form lets people choose."""


def _announce(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Print what becomes of a run of a deployment, for whoever watches `q2a serve`."""
    if flow_run.deployment_id is not None:
        name = f"{flow.name} run {flow_run.name} {flow_run.id}"
        reason = f": {state.message}" if state.message else ""
        print_line(f"{name} is {state.name}{reason}")


def _run_name() -> str:
    """Return a name that tells profile, data and time, as Prefect shows it."""
    given = runtime.flow_run.parameters
    data = ", ".join(Path(text.rpartition("=")[2]).name for text in given["data"])
    time = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    return " ".join(part for part in (given["profile"], data, time) if part)


@flow(
    name="q2a",
    flow_run_name=_run_name,
    persist_result=False,
    on_running=[_announce],
    on_completion=[_announce],
    on_failure=[_announce],
    on_crashed=[_announce],
    on_cancellation=[_announce],
)
def q2a(
    profile: str = "demo",
    overrides: list[str] = [],  # noqa: B006  (Prefect reads it, nobody changes it)
    data: list[str] = [],  # noqa: B006
    start: str | None = None,
    stages: list[StageName] = [],  # noqa: B006
    until: StageName | None = None,
    resume: str | None = None,
) -> list[StageOutcome]:
    """Turn recordings into an evaluated Qwen2-Audio checkpoint.

    Args:
        profile: name of a shipped profile, or path of a YAML file on the serving machine.
        overrides: values of the profile to change, such as pretrain.optimizer.steps=4.
        data: own recordings: a manifest, a folder, or some corpora as CORPUS=ROOT.
        start: finished checkpoint that the run starts from; empty: what the profile says.
        stages: stages that run; empty: those of the profile.
        until: last stage to run; empty runs all.
        resume: MLflow id of a pipeline run to continue; empty begins a new one.
    """
    settings = read_settings()
    request = RunRequest(profile, data, start, stages, overrides, resume, until)
    config, parent = request.reopen(settings) if resume else (request.load(), None)
    logger = get_run_logger()

    def progress(text: str) -> None:
        print_line(text)
        # The mark says that the run's log file has the line already.
        logger.info(text, extra={"q2a_progress": True})

    refuse_machine(config, settings)
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

        pipeline(config, prepared(opened, config, run, until))
    return opened.outcomes
