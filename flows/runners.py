"""Sessions, in which a pipeline runs, and the runner that works in this process."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from flows.config import PipelineConfig
from flows.execution import Session, execute
from flows.pipeline import STAGES, pipeline
from flows.preflight import Preflight
from flows.run_log import logged, run_log
from flows.stage import Artifact, Runner, Stage, StageCall
from infra.compute.open import open_compute
from infra.file_lock import hold
from infra.ledger import Ledger
from infra.reaper import end_children_with_this_process
from infra.retry import error_text
from infra.run_folders import remove_dead, run_folder
from infra.settings import Settings
from infra.storage.known_stores import open_store
from infra.system_metrics import system_metrics
from infra.tracking import ERROR_TAG, MAX_ERROR_CHARACTERS, RunLogger, Tracking


class StopAfterStageError(Exception):
    """The last wanted stage is done; it ends the pipeline without being an error."""


@dataclass(frozen=True)
class Until:
    """A runner that stops the pipeline after one stage."""

    stage: str
    run: Runner = field(repr=False)

    def __call__(self, call: StageCall) -> Artifact:
        """Run the stage, then stop if it was the last wanted one."""
        artifact = self.run(call)
        if call.stage.name == self.stage:
            raise StopAfterStageError
        return artifact


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger of the configured store."""
    return Ledger(open_store(settings), settings.home / "locks")


def open_tracking(settings: Settings) -> Tracking:
    """Open the configured tracking server."""
    return Tracking(settings.resolved_tracking_uri, artifact_folder(settings))


def artifact_folder(settings: Settings) -> Path:
    """Return where MLflow keeps the files of runs, unless a tracking server decides that."""
    return settings.home / "mlartifacts"


@contextmanager
def session(
    config: PipelineConfig,
    settings: Settings,
    progress: Callable[[str], None],
    parent: RunLogger | None = None,
) -> Iterator[Session]:
    """Open what all stages of a run share; its MLflow run ends FINISHED, FAILED or KILLED.

    Args:
        progress: function that reports each line of progress.
        parent: MLflow run of the pipeline to continue; None begins a new one.
    """
    end_children_with_this_process()
    progress = logged(progress)
    tracking = open_tracking(settings)
    scratch = settings.home / "scratch"
    origin = f"{socket.gethostname()}:{settings.home}"
    with ExitStack() as stack:
        with hold(scratch):  # so no run of this home has begun without having its folder yet
            _end_dead_runs(tracking, scratch, origin, progress)
            if parent is None:
                name = f"{config.profile} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
                parent = tracking.start_pipeline(name, config.model_dump(mode="json"), origin)
                folder = stack.enter_context(run_folder(scratch, parent.run_id))
            else:
                folder = stack.enter_context(run_folder(scratch, parent.run_id))
                tracking.continue_pipeline(parent, origin)
        stack.enter_context(_tracked(parent))
        stack.enter_context(run_log(settings.home, parent))
        stack.enter_context(suppress(StopAfterStageError))
        progress(f"pipeline run {parent.run_id}")
        yield Session(
            ledger=open_ledger(settings),
            tracking=tracking,
            parent=parent,
            compute=open_compute(
                config.resources, settings.ray_address, folder, progress, settings.omp_num_threads
            ),
            resources=config.resources,
            scratch=folder,
            model_name=f"qwen2-audio-{config.profile}",
            progress=progress,
        )


def _end_dead_runs(
    tracking: Tracking, scratch: Path, origin: str, progress: Callable[[str], None]
) -> None:
    """Mark the runs of this home whose process was killed, and remove what they left in scratch."""
    for run_id in remove_dead(scratch):
        progress(f"cleared up after pipeline run {run_id}, whose process was killed")
        tracking.end_dead(run_id)
    for run_id in tracking.unfinished_pipelines(origin):
        if not (scratch / run_id).exists():  # killed before it had a folder, or after
            tracking.end_dead(run_id)


@contextmanager
def _tracked(parent: RunLogger) -> Iterator[None]:
    """End the pipeline's MLflow run as what became of a block, with the reason of a failure."""
    started = time.monotonic()
    try:
        with system_metrics(parent):
            yield
    except BaseException as error:
        parent.tags({ERROR_TAG: error_text(error)[:MAX_ERROR_CHARACTERS]})
        parent.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    parent.metrics({"seconds": time.monotonic() - started}, step=0)
    parent.finish("FINISHED")


def run_here(
    opened: Session,
    config: PipelineConfig,
    until: str | None = None,
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Run the pipeline in this process, without Prefect.

    Args:
        until: name of the last stage to run; None runs all.
    """

    def run(call: StageCall) -> Artifact:
        return execute(opened, call)

    pipeline(config, prepared(opened, config, run, until, stages), stages=stages)


def prepared(
    opened: Session,
    config: PipelineConfig,
    run: Runner,
    until: str | None = None,
    stages: Sequence[Stage] = STAGES,
) -> Runner:
    """Return the runner that looks ahead after ingest, and stops after the stage `until`."""
    looking = Preflight(config, opened.ledger, run, until, stages)
    return Until(until, looking) if until else looking
