"""The parts of a pipeline: `Stage`, its identified output `Artifact`, and `StageCall`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from data_contracts.contract_result import ContractResult
from data_contracts.recipe import Recipe
from data_contracts.stage_record import fingerprint
from flows.config import PipelineConfig
from infra.storage.store import Store
from tasks.context import StageResult
from tasks.estimates.estimate import Estimator

Check = Callable[[Store], list[ContractResult]]


def _nothing(_: Store, __: Any) -> list[str]:
    return []


def _always(_: Any, __: str) -> bool:
    return True


Digest = Callable[[Store, str], str]
"""(store, key) -> sha256 of the file."""
Headline = Callable[[Store], Mapping[str, float]]
"""Folder of a finished artifact -> the few numbers by which runs are compared."""


@dataclass(frozen=True)
class Source:
    """Data from outside the store: its identity by content, its contract, and how to read it."""

    digest: str
    value: Recipe
    check: Callable[[], list[ContractResult]]


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline, declared once: in the tuple `STAGES` of `flows/pipeline.py`."""

    name: str
    """Name in the store and in MLflow, and key of the recipe in a profile."""
    version: int
    """Number that is raised when the code makes something else of the same recipe."""
    recipe: type[Recipe]
    """Class of everything that changes what the stage makes."""
    inputs: Mapping[str, tuple["Stage", ...]]
    """Input name -> the stages that may make it; it is read from the last one of a composition."""
    run: Callable[..., StageResult]
    """(context, recipe[, source]) -> result; fills `context.directory`."""
    check: Check
    """Function that holds the contracts of the artifact."""
    estimate: Estimator
    """Function that `q2a plan` asks for time, memory and cost."""
    checkpoints: Literal["none", "one", "several"] = "none"
    """Trained or given checkpoints that it reads: `one` as the input `checkpoint`, `several` as an
    input each, by its name."""
    reads: Callable[[Any, str], bool] = _always
    """(recipe, input name) -> whether the stage reads this input under the recipe."""
    needs: Callable[[Store, Any], list[str]] = _nothing
    """(corpus, recipe) -> what the stage does not find in it, each with a remedy."""
    makes_checkpoint: bool = False
    """Whether the artifact has a folder `checkpoint`, from which other stages can start."""
    source: Callable[[PipelineConfig, Digest], Source | None] | None = None
    """Function that opens the data from outside the store which the stage reads too."""
    registers_model: str | None = None
    """Alias of the registered model version that the stage's checkpoint becomes."""
    pages: tuple[str, ...] = ()
    """Files of the artifact for people, which MLflow shows too."""
    headline: Headline | None = None
    """Function that reads the numbers that the pipeline's run and a registered model show."""


@dataclass(frozen=True)
class Artifact:
    """A stage's output, made or still to be made: the fingerprint is known before the work."""

    stage: Stage
    fingerprint: str


@dataclass(frozen=True)
class StageCall:
    """A stage with its recipe and inputs: everything that decides what will be in the artifact."""

    stage: Stage
    recipe: Recipe
    inputs: Mapping[str, Artifact]
    source: Source | None = None
    artifact: Artifact = field(init=False)

    def __post_init__(self) -> None:
        stage, given = self.stage, set(self.inputs)
        read = {name for name in stage.inputs if stage.reads(self.recipe, name)}
        read |= {"checkpoint"} if stage.checkpoints == "one" else set()
        if read - given or (given - read and stage.checkpoints != "several"):
            raise TypeError(
                f"stage {stage.name} reads {sorted(read)}, but was given {sorted(given)}"
            )
        identity = fingerprint(
            self.stage.name, self.stage.version, self.recipe_values, self.input_fingerprints
        )
        object.__setattr__(self, "artifact", Artifact(self.stage, identity))

    @property
    def recipe_values(self) -> dict[str, object]:
        """The recipe as plain values."""
        return self.recipe.model_dump(mode="json")

    @property
    def input_fingerprints(self) -> dict[str, str]:
        """Input name -> fingerprint, the source's digest included."""
        fingerprints = {name: artifact.fingerprint for name, artifact in self.inputs.items()}
        return fingerprints | ({"source": self.source.digest} if self.source else {})


Runner = Callable[[StageCall], Artifact]
"""Function that carries out a stage: for real, in a test, or only on paper."""
