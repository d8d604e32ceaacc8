"""A contract: the rules that a table must meet before a stage reads it or after it wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from data_contracts.expectations import NOT_NULL, ROW_COUNT

Severity = Literal["stop", "report"]


@dataclass(frozen=True)
class Rule:
    """A rule that each value of a column or the whole table must meet.

    `expectation` is Great Expectations' own name, such as "expect_column_values_to_be_unique", and
    `arguments` are its arguments besides the column. A name instead of an object keeps the four
    seconds that importing Great Expectations takes away from whoever only imports a contract.
    """

    name: str
    column: str | None
    """The tested column; None for a rule about the table as a whole."""
    expectation: str
    remedy: str
    """What to do where the table breaks the rule."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "stop"
    """"stop" ends the run where the rule is broken, "report" only shows it."""


@dataclass(frozen=True)
class Contract:
    """The rules of one kind of table.

    Raises:
        ValueError: a rule name occurs twice, a rule tests an undeclared column, or a nullable
            column has no rule.
    """

    name: str
    id_column: str
    """The column that names a row in examples."""
    columns: tuple[str, ...]
    """Columns that must exist without any null."""
    nullable: tuple[str, ...]
    """Columns that must exist and where null means "does not apply" or "nothing wrong"."""
    rules: tuple[Rule, ...]
    min_rows: int = 1
    """Rows that a table must have at least."""

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.all_rules]
        tested = {rule.column for rule in self.rules if rule.column is not None}
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"contract {self.name!r} has the rules {repeated} twice: rename one.")
        if undeclared := sorted(tested - {*self.columns, *self.nullable}):
            raise ValueError(
                f"contract {self.name!r} tests the columns {undeclared} without declaring them. "
                "Expectations skip nulls: add each to `columns` (never null) or to `nullable`."
            )
        if untested := sorted(set(self.nullable) - tested):
            raise ValueError(
                f"contract {self.name!r} has no rule for the nullable columns {untested}, so "
                "nothing would notice their absence: add a rule or leave them out."
            )

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """All rules: the implied ones (rows, nulls), then the written ones."""
        has_rows = Rule(
            f"{self.name}.has_rows",
            None,
            ROW_COUNT,
            f"Give the table its rows, at least {self.min_rows}: no rows break no other rule.",
            {"min_value": self.min_rows},
        )
        given = (
            Rule(
                f"{self.name}.{column}_is_given",
                column,
                NOT_NULL,
                f"Fill {column!r} in every row.",
            )
            for column in self.columns
        )
        return (has_rows, *given, *self.rules)
