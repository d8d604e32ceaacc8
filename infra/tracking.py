"""Tracking in MLflow: a parent run for a pipeline, a child run for a stage, lineage in tags.

Only `MlflowClient` is used, never the fluent API: that one keeps the active run in global state and
marks a run finished when a worker leaves it. Bytes of checkpoints stay in the store; MLflow gets
the recipe, the metrics, the reports and a registered version that points at the store.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from data_contracts.errors import UsageError

EXPERIMENT = "q2a"
PARENT_TAG = "mlflow.parentRunId"
KIND_TAG = "q2a.kind"
STAGE_TAG = "q2a.stage"
FINGERPRINT_TAG = "q2a.fingerprint"
FOLDER_TAG = "q2a.folder"
INPUT_TAG = "q2a.input."
HIT_TAG = "q2a.hit."
ERROR_TAG = "q2a.error"
LOG_TAG = "q2a.log"
_PIPELINE = "pipeline"
"""Kind of a parent run."""
_CONFIG_FILE = "config.json"
_MAX_PARAM_CHARACTERS = 6000


class UnknownRunError(UsageError, LookupError):
    """A run id names no pipeline run of this tracking server."""


class RunLogger:
    """Writes to one MLflow run; pickles as (URI, run id), so that workers can have it."""

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        self.tracking_uri = tracking_uri
        self.run_id = run_id
        self._client = MlflowClient(tracking_uri)

    def __reduce__(self) -> tuple[type["RunLogger"], tuple[str, str]]:
        return RunLogger, (self.tracking_uri, self.run_id)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one value for each name at a step, in one call (a call costs about 20 ms)."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()]
        )

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in values.items()])

    def params(self, values: Mapping[str, object]) -> None:
        """Log a nested recipe as flat parameters, `a.b.c`."""
        flat = _flatten(values)
        self._client.log_batch(
            self.run_id,
            params=[Param(key, str(value)[:_MAX_PARAM_CHARACTERS]) for key, value in flat.items()],
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
        self.uri = tracking_uri
        self._client = MlflowClient(tracking_uri)
        self.experiment_id = self._open_experiment(artifact_folder)

    def start_pipeline(self, name: str, config: Mapping[str, object]) -> RunLogger:
        """Begin a parent run that holds the whole configuration, so that it can be resumed."""
        run = self._client.create_run(self.experiment_id, run_name=name)
        logger = RunLogger(self.uri, run.info.run_id)
        logger.text(json.dumps(config, indent=2), _CONFIG_FILE)
        logger.tags({KIND_TAG: _PIPELINE})
        return logger

    def reopen_pipeline(self, run_id: str) -> tuple[RunLogger, dict[str, object]]:
        """Reopen a parent run; return its logger and the configuration that it was started with.

        Raises:
            UnknownRunError: the run does not exist or is not the parent run of a pipeline.
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
        with TemporaryDirectory() as folder:
            path = self._client.download_artifacts(run_id, _CONFIG_FILE, folder)
            config = json.loads(Path(path).read_text())
        self._client.update_run(run_id, status="RUNNING")
        return RunLogger(self.uri, run_id), config

    def start_stage(
        self, parent: RunLogger, stage: str, fingerprint: str, inputs: Mapping[str, str]
    ) -> RunLogger:
        """Begin the child run of a stage, with the tags from which lineage is read."""
        tags = {PARENT_TAG: parent.run_id, STAGE_TAG: stage, FINGERPRINT_TAG: fingerprint}
        tags |= {f"{INPUT_TAG}{name}": value for name, value in inputs.items()}
        run = self._client.create_run(self.experiment_id, run_name=stage, tags=tags)
        return RunLogger(self.uri, run.info.run_id)

    def producer_of(self, fingerprint: str) -> Run | None:
        """Return the finished stage run that made an artifact: one step up the lineage."""
        return self._first(f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}' and status = 'FINISHED'")

    def end_abandoned(self, fingerprint: str) -> None:
        """End the runs of an artifact whose process was killed; the caller holds the lock."""
        for run in self._search(
            f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}' and status = 'RUNNING'"
        ):
            logger = RunLogger(self.uri, run.info.run_id)
            logger.tags({ERROR_TAG: "the process ended before the stage did"})
            logger.finish("KILLED")

    def consumers_of(self, fingerprint: str, input_names: Sequence[str]) -> list[Run]:
        """Return the stage runs that read an artifact: one step down the lineage.

        Args:
            input_names: under which a stage may read it, such as "corpus".
        """
        return [
            run
            for name in input_names
            for run in self._search(f"tags.`{INPUT_TAG}{name}` = '{fingerprint}'")
        ]

    def children_of(self, parent: str) -> list[Run]:
        """Return the stage runs of a pipeline run, the oldest first."""
        return self._search(f"tags.`{PARENT_TAG}` = '{parent}'", order="start_time ASC")

    def pipelines(self) -> list[Run]:
        """Return all pipeline runs, the newest first."""
        return self._search(f"tags.`{KIND_TAG}` = '{_PIPELINE}'")

    def register(self, model: str, alias: str, source: str, run_id: str, fingerprint: str) -> int:
        """Register a checkpoint as the newest version of `model`; return the version's number.

        A fingerprint that is registered already keeps its version. A server refuses a local path as
        a source, because it could be one of its own machine: the version then has its run as
        source, and a tag names the folder.

        Args:
            alias: name that points to the version from now on.
            source: URL of the checkpoint's folder in the store.
        """
        is_refused = self._on_server and source.startswith("/")
        if not self._client.search_registered_models(f"name = '{model}'"):
            self._client.create_registered_model(model)
        registered = [
            version
            for version in self._client.search_model_versions(f"name = '{model}'")
            if version.tags.get(FINGERPRINT_TAG) == fingerprint
        ]
        version = (
            registered[0]
            if registered
            else self._client.create_model_version(
                model,
                source=f"runs:/{run_id}" if is_refused else source,
                run_id=run_id,
                tags={FINGERPRINT_TAG: fingerprint, FOLDER_TAG: source},
            )
        )
        self._client.set_registered_model_alias(model, alias, version.version)
        return int(version.version)

    @property
    def _on_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    def _open_experiment(self, artifact_folder: Path) -> str:
        """Find or create the experiment; a tracking server decides where files go."""
        location = None if self._on_server else artifact_folder.resolve().as_uri()
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            try:
                return str(self._client.create_experiment(EXPERIMENT, artifact_location=location))
            except MlflowException:
                # Another process created it in between.
                experiment = self._client.get_experiment_by_name(EXPERIMENT)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

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
