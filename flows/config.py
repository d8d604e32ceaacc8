"""`PipelineConfig`, the settings of a run, and how it is read from a profile and overrides."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import Field, ValidationError, create_model, field_validator, model_validator
from transformers import Qwen2AudioConfig

from data_contracts.jsonl import explain
from data_contracts.recipe import Recipe
from data_contracts.records import NonEmpty
from flows.config_keys import config_keys
from flows.profile_files import ConfigError, read_profile
from infra.compute.resources import Resources
from model.checkpoints.construct import ModelRecipe
from tasks.collect_preferences import CollectRecipe
from tasks.conversations.task_table import TaskError, TaskTable, shipped_tasks
from tasks.dpo import DpoRecipe
from tasks.estimates.estimate import ExampleSize
from tasks.evaluate import EvaluateRecipe
from tasks.evaluation.metrics.table import check_metrics
from tasks.ingest import IngestRecipe
from tasks.initial_model.build import StartRecipe, WeightSource
from tasks.initial_model.shape import initial_shape
from tasks.pretrain import PretrainRecipe
from tasks.sft import SftRecipe
from tasks.sources.manifest import DataSource, DataSourceError, source_tasks

CheckpointName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
"""Name of a checkpoint in a report: small letters, digits, - and _."""
_OTHER_INPUTS = frozenset({"corpus", "pairs", "source"})


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
    """Pre-trained weights; start.model.kind says which. Empty: the run starts from scratch."""
    stages: tuple[str, ...] = ()
    """Names of the stages that run, which keep the pipeline's order. Empty: all of them."""
    origins: dict[str, NonEmpty] = Field(default={})
    """Stage that reads a checkpoint -> where it starts: another stage, or a finished checkpoint's
    folder or URL. Left out: the last stage before it that makes one."""
    compare: dict[CheckpointName, NonEmpty] = Field(default={})
    """Name in the report -> checkpoint that is evaluated: a stage, or a finished checkpoint's
    folder or URL. Empty: all that the run has, random weights left out."""
    ingest: IngestRecipe = IngestRecipe()
    """Recipe of the corpus: packing, compositions, dialogues, suites, hygiene."""
    start: StartRecipe = StartRecipe()
    """Recipe of the checkpoint that the run starts from."""
    pretrain: PretrainRecipe | None = None
    """Recipe of multi-task pre-training."""
    sft: SftRecipe | None = None
    """Recipe of supervised fine-tuning on dialogues."""
    collect_preferences: CollectRecipe = CollectRecipe()
    """Recipe of sampling answers and ranking them into preference pairs."""
    dpo: DpoRecipe | None = None
    """Recipe of direct preference optimisation."""
    evaluate: EvaluateRecipe = EvaluateRecipe()
    """Recipe of the answers to the suites, and of the report."""
    resources: Resources
    """Workers, memory, strategy and saving. Nothing here changes a fingerprint."""
    example: ExampleSize = ExampleSize()
    """Size of the corpus's examples, as `q2a plan` assumes it. It changes no fingerprint."""
    schedule: Schedule = Schedule()
    """When `q2a serve` starts the pipeline by itself. It changes no fingerprint."""

    @model_validator(mode="after")
    def _weights_fit(self) -> "PipelineConfig":
        wanted, given = self.start.model.kind, self.weights.kind if self.weights else "scratch"
        if wanted != given:
            raise ValueError(
                f"start.model.kind is {wanted!r}, but the weights that are given are for "
                f"{given!r}; let both say the same, without `weights` for 'scratch'"
            )
        return self

    @field_validator("compare")
    @classmethod
    def _names_no_other_input(cls, compare: dict[str, str]) -> dict[str, str]:
        if taken := sorted(_OTHER_INPUTS & compare.keys()):
            raise ValueError(f"a checkpoint can't be named {taken[0]!r}: an input is. Name it else")
        return compare

    def has_recipe(self, stage: str) -> bool:
        """Return whether there is a recipe of a stage, which some have by default."""
        return getattr(self, stage, None) is not None

    def recipe(self, stage: str) -> Recipe:
        """Return the recipe of a stage, by the stage's name."""
        recipe: Recipe = getattr(self, stage)
        return recipe

    def is_random(self, stage: str) -> bool:
        """Return whether the checkpoint of a stage knows nothing: there is no use in asking it."""
        return stage == "start" and isinstance(self.start.model, ModelRecipe)

    def initial_shape(self) -> tuple[Qwen2AudioConfig, tuple[str, ...]]:
        """Return the shape of the network that is trained, and what was taken on trust for it.

        Raises:
            UnknownShapeError: the weights are neither readable nor published under their name.
        """
        return initial_shape(self.start.model, self.weights)


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


def load_config(
    profile: str, overrides: Sequence[str] = (), kind: type[PipelineConfig] = PipelineConfig
) -> PipelineConfig:
    """Read a profile, apply overrides to it, and validate the result.

    Args:
        kind: class of the configuration, where more stages than those of `PipelineConfig` run.

    Raises:
        ConfigError: unknown profile or key, an override without "=", or a value that breaks a
            field's rule: the message names the field, the value and the rule.
    """
    return parse_config(read_profile(profile, overrides), f"profile {profile}", kind)


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
        hints = _hints(error, kind)
        raise ConfigError(f"{name}: {explain(error)}{hints}") from error
    except (TaskError, DataSourceError) as error:
        raise ConfigError(f"{name}: {error}") from error
    return config


def _hints(error: ValidationError, kind: type[PipelineConfig]) -> str:
    """Return what unknown keys may have been meant to be."""
    known = {
        ".".join(parts[: end + 1])
        for parts in (key.key.split(".") for key in config_keys(kind))
        for end in range(len(parts))
    }
    hints = []
    for problem in error.errors():
        if problem["type"] == "extra_forbidden":
            key = ".".join(map(str, problem["loc"]))
            hints += [f"{near} for {key}" for near in get_close_matches(key, known, 1, 0.75)]
    return f". Did you mean {', '.join(hints)}?" if hints else ""


def _check_tasks(config: PipelineConfig) -> None:
    """Refuse tasks that nobody declares; `tasks.yaml` beside the data is read only for their sake.

    Raises:
        TaskError: with the known names and how to declare another.
        DataSourceError: `tasks.yaml` can't be read.
    """

    def check(tasks: TaskTable) -> None:
        check_metrics(tasks)
        for recipe in (config.pretrain, config.sft):
            if recipe is not None:
                recipe.check_tasks(tasks)

    declared_here = shipped_tasks().with_declared(config.data.tasks)
    try:
        check(declared_here)
    except TaskError:
        check(source_tasks(config.data))


def _default(recipe: type[Recipe]) -> Any:
    """Return a recipe of defaults, or `...`, which requires a value, where a field has none."""
    is_open = any(field.is_required() for field in recipe.model_fields.values())
    return ... if is_open else recipe()
