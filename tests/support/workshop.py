"""A world in which stages of a few lines run under contracts, ledger and tracking."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts import recipe
from data_contracts.contract import Contract, Rule
from data_contracts.contract_result import ContractResult
from data_contracts.validation import validate
from flows.execution import Session
from flows.stage import Artifact, Source, Stage, StageCall
from infra.compute.in_process import InProcess
from infra.compute.resources import Resources
from infra.ledger import Ledger
from infra.storage.store import Store
from infra.tracking import Tracking
from tasks.context import StageContext, StageResult
from tasks.estimates.estimate import known_when_run

ROWS = "rows.json"
POSITIVE = Contract(
    name="rows",
    id_column="id",
    columns=("id", "value"),
    nullable=(),
    rules=(
        Rule(
            "rows.value_is_positive",
            "value",
            "expect_column_values_to_be_between",
            "Raise the value above 0.",
            {"min_value": 1},
        ),
    ),
)
SMALL = Contract(
    name="sum",
    id_column="artifact",
    columns=("artifact", "sum"),
    nullable=(),
    rules=(
        Rule(
            "sum.is_small",
            "sum",
            "expect_column_values_to_be_between",
            "Leave values out.",
            {"max_value": 999},
        ),
    ),
)


class Recipe(recipe.Recipe):
    values: tuple[int, ...] = (1, 2, 3)


@dataclass
class Workshop:
    """A world in which stages run, and the events that they leave."""

    home: Path
    events: list[str] = field(default_factory=list)
    failure: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.ledger = Ledger(Store(str(self.home / "store")), self.home / "locks")
        self.tracking = Tracking(f"sqlite:///{self.home}/mlflow.db", self.home / "artifacts")
        self.client = MlflowClient(self.tracking.uri)

    def session(self) -> Session:
        return Session(
            ledger=self.ledger,
            tracking=self.tracking,
            parent=self.tracking.start_pipeline("test", {}),
            compute=InProcess(),
            resources=Resources(backend="process"),
            scratch=self.home / "scratch",
            model_name=f"model-{self.home.name}",
            progress=lambda text: self.events.append(f"progress {text.split(' in ')[0]}"),
        )

    def make(
        self, context: StageContext, recipe: Recipe, source: Recipe | None = None
    ) -> StageResult:
        """Copy the recipe's values into a file, in two steps of which the first is kept."""
        self.events.append("work" if source is None else f"work on {source.values}")
        if context.directory.exists("scratch/half"):
            self.events.append("continue")
        context.directory.write_text("scratch/half", "half")
        self.failure()
        context.directory.write_text(ROWS, json.dumps(recipe.values))
        context.directory.write_text("page.html", "<p>page</p>")
        number = len(recipe.values)
        return StageResult(number, number, metrics={"mean": sum(recipe.values) / number})

    def check(self, label: str, directory: Store) -> list[ContractResult]:
        self.events.append(f"check {label}")
        values = json.loads(directory.read_text(ROWS))
        total = pd.DataFrame({"artifact": [label], "sum": [sum(values)]})
        return [check_values(values, label), validate(SMALL, total, f"sum of {label}")]

    def stage(self, name: str, *inputs: str) -> Stage:
        return Stage(
            name,
            1,
            Recipe,
            {made: (self.stage(made),) for made in inputs},
            self.make,
            partial(self.check, name),
            known_when_run,
            registers_model=name,
            pages=("page.html",),
            headline=lambda directory: {"sum": sum(json.loads(directory.read_text(ROWS)))},
        )

    def call(
        self, name: str, recipe: Recipe, source: Source | None = None, **inputs: Artifact
    ) -> StageCall:
        return StageCall(self.stage(name, *inputs), recipe, inputs, source)


def check_values(values: list[int], name: str) -> ContractResult:
    frame = pd.DataFrame({"id": [f"row {i}" for i in range(len(values))], "value": values})
    return validate(POSITIVE, frame, name)


def only_run(shop: Workshop, session: Session) -> Run:
    (run,) = shop.tracking.children_of(session.parent.run_id)
    return run
