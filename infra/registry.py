"""The registry of models in MLflow: a version is a checkpoint in the store that MLflow can load.

Bytes of checkpoints stay in the store. A version names the folder, what it was made by and how good
it is; `mlflow.pyfunc.load_model("models:/NAME@ALIAS")` opens it there.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.exceptions import MlflowException

from data_contracts.errors import UsageError
from infra.tracking import FINGERPRINT_TAG, STAGE_TAG
from infra.tracking_database import PatientClient
from infra.tracking_names import registered_model_name, storable, tracking_name

FOLDER_TAG = "q2a.folder"
"""Folder or URL of the checkpoint, also where MLflow takes no local path as a source."""
METRIC_TAG = "q2a.metric."
_NAME = re.compile(r"models:/+([^/@]+)(?:@([^/@]+)|/(\d+))")


class RegisteredModelError(UsageError, LookupError):
    """A name of a registered model does not lead to a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to register, and what the registry says about it."""

    source: str
    """Folder or URL of the checkpoint."""
    stage: str
    """Stage that made it."""
    fingerprint: str
    """Fingerprint of the artifact in which it lies."""
    run_id: str
    """MLflow run that made it."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Headline numbers."""

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the version."""
        fixed = {
            STAGE_TAG: self.stage,
            FINGERPRINT_TAG: self.fingerprint,
            FOLDER_TAG: self.source,
        }
        measured = {METRIC_TAG + name: f"{value:.6g}" for name, value in self.metrics.items()}
        return {tracking_name(k): storable(v) for k, v in (fixed | measured).items()}

    @property
    def description(self) -> str:
        """Text that MLflow shows with the version."""
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return storable(
            f"Qwen2-Audio after the stage {self.stage}{f': {numbers}' if numbers else ''}.\n\n"
            f"Artifact `{self.stage}/{self.fingerprint}`. The source opens with `from_pretrained` "
            "of transformers, and the version with `mlflow.pyfunc.load_model`."
        )


class Registry:
    """Registered models of one tracking server."""

    def __init__(self, tracking_uri: str) -> None:
        self._is_server = tracking_uri.startswith(("http://", "https://"))
        self._uri = tracking_uri
        self._client = PatientClient(tracking_uri)

    def register(self, model: str, alias: str, checkpoint: Checkpoint) -> int:
        """Register a checkpoint as a version of `model`; return the version's number.

        A checkpoint that is registered already keeps its version, unless it lies elsewhere now. A
        server refuses a local path as a source, because it could be one of its own machine: the
        version then has its run as source, and a tag names the folder.

        Args:
            alias: name that points to the version from now on.
        """
        model = registered_model_name(model)
        if not self._client.search_registered_models(f"name = '{model}'"):
            self._client.create_registered_model(
                model, description="Checkpoints of a Qwen2-Audio pipeline, an alias for each stage."
            )
        same = [
            version
            for version in self._client.search_model_versions(f"name = '{model}'")
            if version.tags.get(FINGERPRINT_TAG) == checkpoint.fingerprint
            and version.tags.get(FOLDER_TAG) == storable(checkpoint.source)
        ]
        is_refused = self._is_server and checkpoint.source.startswith("/")
        version = (
            same[0]
            if same
            else self._client.create_model_version(
                model,
                source=f"runs:/{checkpoint.run_id}" if is_refused else checkpoint.source,
                run_id=checkpoint.run_id,
                tags=checkpoint.tags,
                description=checkpoint.description,
            )
        )
        self._client.set_registered_model_alias(model, alias, version.version)
        return int(version.version)

    def location(self, name: str) -> str:
        """Return the folder or URL of the checkpoint `models:/NAME@ALIAS` or `models:/NAME/NUMBER`.

        Raises:
            RegisteredModelError: the name has another form, or there is no such model, alias or
                version.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise RegisteredModelError(
                f"{name!r} names no registered version; write models:/NAME@ALIAS, such as "
                "models:/qwen2-audio-demo@sft, or models:/NAME/NUMBER."
            )
        model, alias, number = match.groups()
        try:
            version = (
                self._client.get_model_version_by_alias(model, alias)
                if alias
                else self._client.get_model_version(model, number)
            )
        except MlflowException as error:
            raise RegisteredModelError(
                f"MLflow at {self._uri} has no {name!r}. {self._known(model)}"
            ) from error
        return str(version.tags.get(FOLDER_TAG, version.source))

    def folders(self) -> dict[tuple[str, int], str]:
        """Return the folder or URL of every version of a pipeline, by model and number."""
        return {
            (version.name, int(version.version)): version.tags.get(FOLDER_TAG, version.source)
            for version in self._client.search_model_versions()
            if FINGERPRINT_TAG in version.tags
        }

    def move(self, new_place: Callable[[str], str | None]) -> None:
        """Register again what an alias names and what lies elsewhere now; the alias follows.

        Args:
            new_place: finds the new folder or URL of an old one; None where it is not known.
        """
        for model in self._client.search_registered_models():
            for alias, number in model.aliases.items():
                version = self._client.get_model_version(model.name, number)
                old = version.tags.get(FOLDER_TAG, version.source)
                place = new_place(old) if FINGERPRINT_TAG in version.tags else None
                if place not in (None, old):
                    self.register(model.name, alias, _as_registered(version, str(place)))

    def _known(self, model: str) -> str:
        """Say what could be meant instead, for an error."""
        models = {found.name: found for found in self._client.search_registered_models()}
        if model not in models:
            names = ", ".join(sorted(models)) or "none: a training registers the first"
            return f"Its registered models: {names}."
        aliases = ", ".join(sorted(models[model].aliases)) or "none"
        return f"Aliases of {model}: {aliases}; versions are numbered from 1."


def _as_registered(version: Any, source: str) -> Checkpoint:
    """Return what a version says, with another source."""
    metrics = {
        name.removeprefix(METRIC_TAG): float(value)
        for name, value in version.tags.items()
        if name.startswith(METRIC_TAG)
    }
    return Checkpoint(
        source, version.tags.get(STAGE_TAG, ""), version.tags[FINGERPRINT_TAG], version.run_id,
        metrics,
    )  # fmt: skip
