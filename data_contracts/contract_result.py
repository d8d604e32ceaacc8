"""Results of contracts: which rules a table breaks, and whether that stops a stage."""

from data_contracts.contract import Severity
from data_contracts.errors import DataError
from data_contracts.records import Record

Scalar = str | int | float | bool | None


class Example(Record):
    """One row that breaks a rule."""

    id: str
    """Value of the contract's id column, or the number of the row where that is missing."""
    value: Scalar
    """Value of the tested column."""


class RuleOutcome(Record):
    """The result of one rule for one table."""

    rule: str
    column: str | None
    severity: Severity
    success: bool
    unexpected_count: int
    """Rows that break the rule; a rule with a tolerance can succeed in spite of some."""
    examples: tuple[Example, ...]
    """The first such rows, at most three."""
    detail: str | None
    """For a broken rule without such rows, what it saw instead: a row count, a missing column."""
    remedy: str

    def __str__(self) -> str:
        problem = self.detail or f"{self.unexpected_count} row{'s' * (self.unexpected_count != 1)}"
        examples = "".join(f"\n    {example.id!r}: {example.value!r}" for example in self.examples)
        return f"{self.rule}: {problem}{examples}\n    Remedy: {self.remedy}"


class ContractResult(Record):
    """The result of a contract for one table, rule by rule in the contract's order."""

    contract: str
    """Name of the contract."""
    table: str
    """Name of the table in messages."""
    rows: int
    """Number of rows of the table."""
    outcomes: tuple[RuleOutcome, ...]

    @property
    def failed(self) -> tuple[RuleOutcome, ...]:
        """The broken rules that stop the pipeline; empty where the table may be used."""
        return tuple(o for o in self.outcomes if not o.success and o.severity == "stop")

    @property
    def reported(self) -> tuple[RuleOutcome, ...]:
        """The broken rules that only ask for attention."""
        return tuple(o for o in self.outcomes if not o.success and o.severity == "report")

    def to_json(self) -> str:
        """Write this result as indented JSON; `ContractResult.model_validate_json` reads it."""
        return self.model_dump_json(indent=2)


class ContractBreachError(DataError, ValueError):
    """A table breaks its contract. Holds the whole `result` and survives pickling (Ray)."""

    def __init__(self, result: ContractResult) -> None:
        super().__init__(result)
        self.result = result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        result = self.result
        return (
            f"{result.table} ({result.rows} rows) breaks {len(result.failed)} rules of the "
            f"contract {result.contract!r}:\n" + "\n".join(f"- {o}" for o in result.failed)
        )


def enforce(result: ContractResult) -> None:
    """Refuse a table that breaks its contract; rules that only report do not stop it.

    Raises:
        ContractBreachError: the table breaks rules; names each with count, examples and remedy.
    """
    if result.failed:
        raise ContractBreachError(result)
