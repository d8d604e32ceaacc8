"""`PipelineConfig`, the settings of a run, and how it is read from a profile and overrides."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError, create_model, model_validator
from transformers import Qwen2AudioConfig

from data_contracts.errors import UsageError
from data_contracts.jsonl import explain
from data_contracts.recipe import Recipe
from infra.compute.resources import Resources
from tasks.collect_preferences import CollectRecipe
from tasks.conversations.task_table import TaskError, TaskTable, shipped_tasks
from tasks.dpo import DpoRecipe
from tasks.estimates.estimate import ExampleSize
from tasks.evaluate import EvaluateRecipe
from tasks.evaluation.metrics.table import check_metrics
from tasks.ingest import IngestRecipe
from tasks.initial_model.build import WeightSource
from tasks.initial_model.shape import initial_shape
from tasks.pretrain import PretrainRecipe
from tasks.sft import SftRecipe
from tasks.sources.manifest import DataSource, DataSourceError, source_tasks


class ConfigError(UsageError, ValueError):
    """A profile or an override is not a valid configuration."""


class Schedule(Recipe):
    """When `q2a serve` starts the pipeline by itself."""

    cron: str = "0 2 * * *"
    """Cron expression of five fields: minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"
    """IANA name of the time zone that the expression is in, such as Europe/Berlin."""


class PipelineConfig(Recipe):
    """All settings of a run. Recipes decide the numbers and are part of the fingerprints."""

    profile: str
    """Name of the profile. It names runs and the registered model, and changes no number."""
    data: DataSource
    """Recordings that ingest packs: exactly one of a manifest, a folder and public corpora."""
    weights: WeightSource | None = None
    """Pre-trained weights; pretrain.model.kind says which. Empty: training begins from scratch."""
    ingest: IngestRecipe
    """Recipe of the corpus: packing, compositions, dialogues, suites, hygiene."""
    pretrain: PretrainRecipe
    """Recipe of multi-task pre-training, the model's shape included."""
    sft: SftRecipe
    """Recipe of supervised fine-tuning on dialogues."""
    collect_preferences: CollectRecipe
    """Recipe of sampling answers and ranking them into preference pairs."""
    dpo: DpoRecipe
    """Recipe of direct preference optimisation."""
    evaluate: EvaluateRecipe
    """Recipe of the answers to the suites, and of the report."""
    resources: Resources
    """Workers, memory, strategy and saving. Nothing here changes a fingerprint."""
    example: ExampleSize = ExampleSize()
    """Size of the corpus's examples, as `q2a plan` assumes it. It changes no fingerprint."""
    schedule: Schedule = Schedule()
    """When `q2a serve` starts the pipeline by itself. It changes no fingerprint."""

    @model_validator(mode="after")
    def _weights_fit(self) -> "PipelineConfig":
        wanted, given = self.pretrain.model.kind, self.weights.kind if self.weights else "scratch"
        if wanted != given:
            raise ValueError(
                f"pretrain.model.kind is {wanted!r}, but the weights that are given are for "
                f"{given!r}; let both say the same, without `weights` for 'scratch'"
            )
        return self

    def recipe(self, stage: str) -> Recipe:
        """Return the recipe of a stage, by the stage's name."""
        recipe: Recipe = getattr(self, stage)
        return recipe

    def initial_shape(self) -> tuple[Qwen2AudioConfig, tuple[str, ...]]:
        """Return the shape of the network that is trained, and what was taken on trust for it.

        Raises:
            UnknownShapeError: the weights are neither readable nor published under their name.
        """
        return initial_shape(self.pretrain.model, self.weights)


def with_recipes(recipes: Mapping[str, type[Recipe]]) -> type[PipelineConfig]:
    """Return `PipelineConfig` with a field for each recipe that it does not name itself.

    A profile may leave out such a field where all fields of the recipe have defaults.

    Args:
        recipes: stage name -> class of the stage's recipe.
    """
    added: dict[str, Any] = {
        name: (recipe, _default(recipe))
        for name, recipe in recipes.items()
        if name not in PipelineConfig.model_fields
    }
    if not added:
        return PipelineConfig
    return create_model(PipelineConfig.__name__, __base__=PipelineConfig, **added)


def profile_names() -> list[str]:
    """Return the names of the profiles that exist."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in files("flows").joinpath("profiles").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(
    profile: str, overrides: Sequence[str] = (), kind: type[PipelineConfig] = PipelineConfig
) -> PipelineConfig:
    """Read a profile and apply `a.b.c=value` overrides; a value is YAML, or else text.

    Args:
        kind: class of the configuration, where more stages than those of `PipelineConfig` run.

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
    return parse_config(values, f"profile {profile}", kind)


def parse_config(
    values: Mapping[str, Any], name: str, kind: type[PipelineConfig] = PipelineConfig
) -> PipelineConfig:
    """Validate a configuration.

    Args:
        name: where the values come from, for messages.
        kind: class of the configuration, where more stages than those of `PipelineConfig` run.

    Raises:
        ConfigError: unknown key, a value that breaks a field's rule, or an undeclared task.
    """
    try:
        config = kind.model_validate(values)
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
        check_metrics(tasks)
        config.pretrain.check_tasks(tasks)
        config.sft.check_tasks(tasks)

    declared_here = shipped_tasks().with_declared(config.data.tasks)
    try:
        check(declared_here)
    except TaskError:
        check(source_tasks(config.data))


def _default(recipe: type[Recipe]) -> Any:
    """Return a recipe of defaults, or `...`, which requires a value, where a field has none."""
    is_open = any(field.is_required() for field in recipe.model_fields.values())
    return ... if is_open else recipe()


def _apply(values: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r} has no '='; write a.b.c=value")
    *parents, last = path.split(".")
    group = values
    for parent in parents:
        group = group.setdefault(parent, {})
        if not isinstance(group, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a group")
    try:
        group[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        # A cron expression such as "*/5 * * * *" is no YAML.
        group[last] = text
