"""Tracking in MLflow: a parent run for a pipeline, a child run for a stage, lineage in tags.

Only MLflow's client is used, never the fluent API: that one keeps the active run in global state
and marks a run finished when a worker leaves it. Bytes of checkpoints stay in the store; MLflow
gets the recipe, the metrics, the reports and a registered version that points at the store.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from data_contracts.errors import UsageError
from infra.run_source import source_tags
from infra.tracking_database import PatientClient, prepare_database
from infra.tracking_names import storable, tracking_name

EXPERIMENT = "q2a"
_EXPERIMENT_TAGS = {
    # By the kind MLflow's UI chooses the views: "Machine learning", with charts of runs.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": (
        "Runs of the Qwen2-Audio pipeline. A run without a parent is a pipeline: its parameters "
        "are the whole configuration, its metrics the headline of each stage, by which runs "
        "compare. Its children are the stages that it made; what an earlier run had made is a tag "
        "`q2a.hit.STAGE` with that run's id."
    ),
}
PARENT_TAG = "mlflow.parentRunId"
KIND_TAG = "q2a.kind"
STAGE_TAG = "q2a.stage"
FINGERPRINT_TAG = "q2a.fingerprint"
INPUT_TAG = "q2a.input."
HIT_TAG = "q2a.hit."
ERROR_TAG = "q2a.error"
MAX_ERROR_CHARACTERS = 5000
"""Of an error's text in a tag."""
ORIGIN_TAG = "q2a.origin"
"""Machine and folder whose process made a pipeline run."""
LOG_TAG = "q2a.log"
"""Path of the run's log file on the machine that ran it."""
_PIPELINE = "pipeline"
"""Kind of a parent run."""
_CONFIG_FILE = "config.json"
_MAX_PARAM_CHARACTERS = 6000
_KILLED = "the process ended before the run did"


class UnknownRunError(UsageError, LookupError):
    """A run id names no pipeline run of this tracking server."""


class RunLogger:
    """Writes to one MLflow run; pickles as (URI, run id), so that workers can have it.

    Metrics, tags and parameters may have any text as name: `tracking_name` says what MLflow shows.
    """

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        self.tracking_uri = tracking_uri
        self.run_id = run_id
        self._client = PatientClient(tracking_uri)

    def __reduce__(self) -> tuple[type["RunLogger"], tuple[str, str]]:
        return RunLogger, (self.tracking_uri, self.run_id)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one value for each name at a step, in one call (a call costs about 20 ms)."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id,
            metrics=[Metric(tracking_name(k), value, now, step) for k, value in values.items()],
        )

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(
            self.run_id, tags=[RunTag(tracking_name(k), storable(v)) for k, v in values.items()]
        )

    def params(self, values: Mapping[str, object]) -> None:
        """Log a nested recipe as flat parameters, `a.b.c`."""
        flat = _flatten(values)
        self._client.log_batch(
            self.run_id,
            params=[
                Param(tracking_name(key), storable(str(value))[:_MAX_PARAM_CHARACTERS])
                for key, value in flat.items()
            ],
        )

    def text(self, content: str, file: str) -> None:
        """Store a text file, such as a report page, with the run."""
        self._client.log_text(self.run_id, content, file)

    def table(self, rows: Sequence[Mapping[str, object]], file: str) -> None:
        """Add rows, all with the same columns, to a table that MLflow shows."""
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        self._client.log_table(self.run_id, columns, file)

    def dataset(self, name: str, digest: str, source: str, num_rows: int) -> None:
        """Log a table as an input dataset of the run; MLflow keeps 36 characters of the digest."""
        dataset = Dataset(
            name=name,
            digest=digest[:36],
            source_type="external",
            source=json.dumps({"uri": source}),
            profile=json.dumps({"num_rows": num_rows, "sha256": digest}),
        )
        tags = [InputTag("mlflow.data.context", "input")]
        self._client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])

    def finish(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)


class Tracking:
    """The project's experiment on one tracking server."""

    def __init__(self, tracking_uri: str, artifact_folder: Path) -> None:
        """`artifact_folder`: where MLflow keeps files, unless a tracking server decides that."""
        prepare_database(tracking_uri, artifact_folder)
        self.uri = tracking_uri
        self._client = PatientClient(tracking_uri)
        self.experiment_id = self._open_experiment(artifact_folder)

    def start_pipeline(
        self, name: str, config: Mapping[str, object], origin: str = ""
    ) -> RunLogger:
        """Begin a parent run that holds the whole configuration, so that it can be resumed.

        Args:
            origin: machine and folder that run it, see `unfinished_pipelines`.
        """
        tags = {KIND_TAG: _PIPELINE, ORIGIN_TAG: storable(origin), **source_tags()}
        run = self._client.create_run(self.experiment_id, run_name=storable(name), tags=tags)
        logger = RunLogger(self.uri, run.info.run_id)
        logger.text(json.dumps(config, indent=2), _CONFIG_FILE)
        logger.params(config)
        return logger

    def reopen_pipeline(self, run_id: str) -> tuple[RunLogger, dict[str, object]]:
        """Find a parent run; return its logger and the configuration that it was started with.

        Raises:
            UnknownRunError: the run does not exist, is not the parent run of a pipeline, or was
                killed before its configuration was kept.
        """
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            raise UnknownRunError(
                f"MLflow at {self.uri} has no run {run_id!r}. `q2a show` lists the pipeline runs."
            ) from error
        if run.data.tags.get(KIND_TAG) != _PIPELINE:
            parent = run.data.tags.get(PARENT_TAG)
            hint = f"Its parent is {parent}." if parent else "`q2a show` lists the pipeline runs."
            raise UnknownRunError(f"run {run_id!r} is not the parent run of a pipeline. {hint}")
        if not any(file.path == _CONFIG_FILE for file in self._client.list_artifacts(run_id)):
            raise UnknownRunError(
                f"run {run_id!r} ended before its configuration was kept, and before any work: "
                "start a new one with `q2a run`"
            )
        with TemporaryDirectory() as folder:
            path = self._client.download_artifacts(run_id, _CONFIG_FILE, folder)
            config = json.loads(Path(path).read_text())
        return RunLogger(self.uri, run_id), config

    def continue_pipeline(self, parent: RunLogger, origin: str) -> None:
        """Mark a parent run as running again, at another origin perhaps."""
        parent.tags({ORIGIN_TAG: origin})
        self._client.update_run(parent.run_id, status="RUNNING")
        if ERROR_TAG in self._client.get_run(parent.run_id).data.tags:
            self._client.delete_tag(parent.run_id, ERROR_TAG)

    def unfinished_pipelines(self, origin: str) -> list[str]:
        """Return the ids of the parent runs of a machine and folder that are marked as running."""
        query = f"tags.`{KIND_TAG}` = '{_PIPELINE}' and status = 'RUNNING'"
        runs = self._search(query)
        return [
            run.info.run_id for run in runs if run.data.tags.get(ORIGIN_TAG) == storable(origin)
        ]

    def end_dead(self, run_id: str) -> None:
        """End a parent run whose process was killed, and its stages' runs, as KILLED."""
        parents = self._search(f"attributes.run_id = '{run_id}'")
        self._end_as_killed([*self.children_of(run_id), *parents])

    def start_stage(
        self, parent: RunLogger, stage: str, fingerprint: str, inputs: Mapping[str, str]
    ) -> RunLogger:
        """Begin the child run of a stage, with the tags from which lineage is read."""
        tags = {PARENT_TAG: parent.run_id, STAGE_TAG: stage, FINGERPRINT_TAG: fingerprint}
        tags |= source_tags()
        tags |= {tracking_name(f"{INPUT_TAG}{name}"): value for name, value in inputs.items()}
        run = self._client.create_run(self.experiment_id, run_name=stage, tags=tags)
        return RunLogger(self.uri, run.info.run_id)

    def producer_of(self, fingerprint: str) -> Run | None:
        """Return the finished stage run that made an artifact: one step up the lineage."""
        return self._first(f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}' and status = 'FINISHED'")

    def end_abandoned(self, fingerprint: str) -> None:
        """End the runs of an artifact whose process was killed; the caller holds the lock."""
        self._end_as_killed(self._search(f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"))

    def consumers_of(self, fingerprint: str, input_names: Sequence[str]) -> list[Run]:
        """Return the stage runs that read an artifact: one step down the lineage.

        Args:
            input_names: under which a stage may read it, such as "corpus".
        """
        return [
            run
            for name in input_names
            for run in self._search(f"tags.`{tracking_name(INPUT_TAG + name)}` = '{fingerprint}'")
        ]

    def children_of(self, parent: str) -> list[Run]:
        """Return the stage runs of a pipeline run, the oldest first."""
        return self._search(f"tags.`{PARENT_TAG}` = '{parent}'", order="start_time ASC")

    def pipelines(self) -> list[Run]:
        """Return all pipeline runs, the newest first."""
        return self._search(f"tags.`{KIND_TAG}` = '{_PIPELINE}'")

    @property
    def _on_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    def _open_experiment(self, artifact_folder: Path) -> str:
        """Find or create the experiment; a tracking server decides where files go."""
        location = None if self._on_server else artifact_folder.resolve().as_uri()
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            try:
                return str(
                    self._client.create_experiment(
                        EXPERIMENT, artifact_location=location, tags=_EXPERIMENT_TAGS
                    )
                )
            except MlflowException:
                # Another process created it in between.
                experiment = self._client.get_experiment_by_name(EXPERIMENT)
                if experiment is None:
                    raise
        for name in _EXPERIMENT_TAGS.keys() - experiment.tags.keys():  # of an earlier version
            self._client.set_experiment_tag(experiment.experiment_id, name, _EXPERIMENT_TAGS[name])
        return str(experiment.experiment_id)

    def _end_as_killed(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if run.info.status == "RUNNING":
                logger = RunLogger(self.uri, run.info.run_id)
                logger.tags({ERROR_TAG: _KILLED})
                logger.finish("KILLED")

    def _search(self, query: str, order: str = "start_time DESC") -> list[Run]:
        return list(self._client.search_runs([self.experiment_id], query, order_by=[order]))

    def _first(self, query: str) -> Run | None:
        runs = self._search(query)
        return runs[0] if runs else None


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
