"""A stage: what it is called, what it reads, what it promises, and the function that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from data_contracts.contract_result import ContractResult
from data_contracts.recipe import Recipe
from data_contracts.stage_record import fingerprint
from infra.storage.store import Store
from tasks.context import StageResult

Check = Callable[[Store], list[ContractResult]]


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline, declared once in `flows/pipeline.py`."""

    name: str
    version: int
    """Raised when the code changes what the same recipe makes."""
    inputs: tuple[str, ...]
    """Names of the artifacts that it reads."""
    run: Callable[..., StageResult]
    """(context, recipe[, source]) -> result; fills `context.directory`."""
    check: Check
    """The contracts of what it leaves behind."""
    registers_model: str | None = None
    """Alias of the registered model version that its checkpoint becomes."""
    pages: tuple[str, ...] = ()
    """Files of the artifact for people, which MLflow shows too."""


@dataclass(frozen=True)
class Source:
    """Data from outside the store: its identity by content, its contract, and how to read it."""

    digest: str
    value: Recipe
    check: Callable[[], list[ContractResult]]


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
        if set(self.inputs) != set(self.stage.inputs):
            raise TypeError(
                f"stage {self.stage.name} reads {sorted(self.stage.inputs)}, "
                f"but was given {sorted(self.inputs)}"
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
        found = {name: artifact.fingerprint for name, artifact in self.inputs.items()}
        return found | ({"source": self.source.digest} if self.source else {})


Runner = Callable[[StageCall], Artifact]
"""Carries out a stage: for real, in a test, or only on paper."""
