"""`PipelineConfig`: all recipes and all resources of a run, from a profile and overrides."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from data_contracts.jsonl import explain
from data_contracts.recipe import Recipe
from infra.compute.resources import Resources
from tasks.collect_preferences import CollectRecipe
from tasks.conversations.task_table import TaskError, TaskTable, shipped_tasks
from tasks.dpo import DpoRecipe
from tasks.estimates.training_cost import ExampleSize
from tasks.evaluate import EvaluateRecipe
from tasks.ingest import IngestRecipe
from tasks.initial_model.build import WeightSource
from tasks.pretrain import PretrainRecipe
from tasks.sft import SftRecipe
from tasks.sources.manifest import DataSource, DataSourceError, source_tasks


class ConfigError(ValueError):
    """A profile or an override is not a valid configuration."""


class Schedule(Recipe):
    """When `q2a serve` starts the pipeline by itself."""

    cron: str = "0 2 * * *"
    """Five-field cron expression."""
    timezone: str = "UTC"
    """IANA name of the time zone."""


class PipelineConfig(Recipe):
    """Recipes decide the numbers and are part of every fingerprint; the rest is not."""

    profile: str
    data: DataSource
    weights: WeightSource | None = None
    """Where pre-training begins with pre-trained weights: where they lie."""
    ingest: IngestRecipe
    pretrain: PretrainRecipe
    sft: SftRecipe
    collect_preferences: CollectRecipe
    dpo: DpoRecipe
    evaluate: EvaluateRecipe
    resources: Resources
    example: ExampleSize = ExampleSize()
    """What `q2a plan` assumes of the corpus's examples."""
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _weights_fit(self) -> "PipelineConfig":
        wanted, given = self.pretrain.model.kind, self.weights.kind if self.weights else "scratch"
        if wanted != given:
            raise ValueError(
                f"pretrain.model.kind is {wanted!r}, but the weights that are given are for "
                f"{given!r}; let both say the same, without `weights` for 'scratch'"
            )
        return self


def profile_names() -> list[str]:
    """The profiles that exist."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in files("flows").joinpath("profiles").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(profile: str, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read a profile and apply `a.b.c=value` overrides; a value is YAML, or else text.

    Raises:
        ConfigError: unknown profile or key, an override without "=", or a value that breaks a
            field's rule: the message names the field, the value and the rule.
    """
    if profile not in profile_names():
        raise ConfigError(f"there is no profile {profile!r}; there are {profile_names()}")
    text = files("flows").joinpath("profiles", f"{profile}.yaml").read_text()
    values: dict[str, Any] = {"profile": profile, **yaml.safe_load(text)}
    for override in overrides:
        _apply(values, override)
    return parse_config(values, f"profile {profile}")


def parse_config(values: Mapping[str, Any], name: str) -> PipelineConfig:
    """Validate a configuration; `name` says in messages where it comes from.

    Raises:
        ConfigError: unknown key, a value that breaks a field's rule, or an undeclared task.
    """
    try:
        config = PipelineConfig.model_validate(values)
        _check_tasks(config)
    except ValidationError as error:
        raise ConfigError(f"{name}: {explain(error)}") from error
    except (TaskError, DataSourceError) as error:
        raise ConfigError(f"{name}: {error}") from error
    return config


def _check_tasks(config: PipelineConfig) -> None:
    """Refuse tasks that nobody declares; `tasks.yaml` beside the data is read only for their sake.

    Raises:
        TaskError: with the known names and how to declare another.
        DataSourceError: `tasks.yaml` can't be read.
    """

    def check(tasks: TaskTable) -> None:
        config.pretrain.check_tasks(tasks)
        config.sft.check_tasks(tasks)
        tasks.require(config.ingest.hygiene.held_out_text, "ingest.hygiene.held_out_text")

    declared_here = shipped_tasks().with_declared(config.data.tasks)
    try:
        check(declared_here)
    except TaskError:
        check(source_tasks(config.data))


def _apply(values: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r} has no '='; write a.b.c=value")
    *parents, last = path.split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a group")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        # A cron expression such as "*/5 * * * *" is no YAML.
        place[last] = text
