"""A contract: the rules that a table must meet before a stage reads it or after it wrote it.

Great Expectations does the checking. Three of its habits would let bad tables pass, so they are
closed here and not left to each contract:

- Value expectations skip nulls. A column is therefore declared either as given (an implied rule
  refuses nulls) or as nullable, and a rule about an undeclared column is refused.
- An empty table passes every value expectation. An implied rule asks for `min_rows`.
- A missing column yields an exception instead of a result, in a shape of its own. It becomes a
  broken rule with the exception's message.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from data_contracts.records import Record

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["stop", "report"]
Scalar = str | int | float | bool | None

NUM_EXAMPLES = 3
_MAX_EXAMPLE_CHARACTERS = 200

# `get_context` replaces a global of Great Expectations, so two threads must not validate at once.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Rule:
    """One thing that must hold, and what to do where it does not.

    `expectation` is Great Expectations' own name, such as "expect_column_values_to_be_unique", and
    `arguments` are its arguments besides the column. A name instead of an object keeps the four
    seconds that importing Great Expectations takes away from whoever only imports a contract.
    """

    name: str
    column: str | None
    """The tested column; None for a rule about the table as a whole."""
    expectation: str
    remedy: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "stop"


@dataclass(frozen=True)
class Contract:
    """The rules of one kind of table.

    Raises:
        ValueError: where a rule name occurs twice, a rule tests an undeclared column, or a
            nullable column has no rule.
    """

    name: str
    id_column: str
    """The column that names a row in examples."""
    columns: tuple[str, ...]
    """Columns that must be there without any null."""
    nullable: tuple[str, ...]
    """Columns that must be there and where null means "does not apply" or "nothing wrong"."""
    rules: tuple[Rule, ...]
    min_rows: int = 1

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
        """The implied rules (rows, nulls) before the written ones."""
        has_rows = Rule(
            f"{self.name}.has_rows",
            None,
            "expect_table_row_count_to_be_between",
            f"Give the table its rows, at least {self.min_rows}: no rows break no other rule.",
            {"min_value": self.min_rows},
        )
        given = (
            Rule(
                f"{self.name}.{column}_is_given",
                column,
                "expect_column_values_to_not_be_null",
                f"Fill {column!r} in every row.",
            )
            for column in self.columns
        )
        return (has_rows, *given, *self.rules)


class Example(Record):
    """One row that breaks a rule: its id and the value of the tested column."""

    id: str
    value: Scalar


class RuleOutcome(Record):
    """What one rule found in one table."""

    rule: str
    column: str | None
    severity: Severity
    success: bool
    unexpected_count: int
    """Rows that break the rule; a rule with a tolerance can succeed in spite of some."""
    examples: tuple[Example, ...]
    """The first such rows, at most three."""
    detail: str | None
    """What a broken rule without such rows found instead: a row count, a missing column."""
    remedy: str

    def __str__(self) -> str:
        found = self.detail or f"{self.unexpected_count} row{'s' * (self.unexpected_count != 1)}"
        examples = "".join(f"\n    {example.id!r}: {example.value!r}" for example in self.examples)
        return f"{self.rule}: {found}{examples}\n    Remedy: {self.remedy}"


class ContractResult(Record):
    """What a contract found in one table, rule by rule in the contract's order."""

    contract: str
    table: str
    rows: int
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
        """This result as indented JSON; `ContractResult.model_validate_json` reads it back."""
        return self.model_dump_json(indent=2)


class ContractBreachError(ValueError):
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
    """Let a table pass that meets its contract; rules that only report do not stop it.

    Raises:
        ContractBreachError: naming each broken rule with its count, examples and remedy.
    """
    if result.failed:
        raise ContractBreachError(result)


def validate(contract: Contract, frame: "pd.DataFrame", name: str) -> ContractResult:
    """Check `frame`, called `name` in messages, against every rule of `contract`.

    Writes no files and sends nothing. Raises nothing for a bad table: see `enforce`.
    """
    import great_expectations as gx
    from great_expectations.data_context.types import base

    suite = gx.ExpectationSuite(
        name=contract.name,
        expectations=[
            {
                "type": rule.expectation,
                "kwargs": dict(rule.arguments) | ({"column": rule.column} if rule.column else {}),
                "meta": {"rule": rule.name},
            }
            for rule in contract.all_rules
        ],
    )
    quiet = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    with _ONE_AT_A_TIME:
        context = gx.get_context(mode="ephemeral", project_config=quiet)
        asset = context.data_sources.add_pandas("memory").add_dataframe_asset(name)
        whole = asset.add_batch_definition_whole_dataframe("all")
        context.suites.add(suite)
        # A batch that is made and then validated would have its table hashed twice.
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=contract.name, data=whole, suite=suite)
        )
        # BASIC counts and shows values. Asking for row indices too takes 27 s for 1e6 bad rows.
        report = definition.run(
            batch_parameters={"dataframe": frame},
            result_format={"result_format": "BASIC", "partial_unexpected_count": NUM_EXAMPLES},
        )
    # Results come in another order than the rules: those with exceptions first.
    by_rule = {result.expectation_config.meta["rule"]: result for result in report.results}
    return ContractResult(
        contract=contract.name,
        table=name,
        rows=len(frame),
        outcomes=tuple(
            _outcome(rule, by_rule[rule.name], frame, contract.id_column)
            for rule in contract.all_rules
        ),
    )


def _outcome(rule: Rule, result: Any, frame: "pd.DataFrame", id_column: str) -> RuleOutcome:
    count = int(result.result.get("unexpected_count", 0))
    detail = None
    if not result.success and count == 0:
        detail = _exception_message(result.exception_info) or _observation(result.result)
    return RuleOutcome(
        rule=rule.name,
        column=rule.column,
        severity=rule.severity,
        success=bool(result.success),
        unexpected_count=count,
        examples=_examples(rule, result.result, frame, id_column) if count else (),
        detail=detail,
        remedy=rule.remedy,
    )


def _exception_message(info: Mapping[str, Any]) -> str | None:
    """The message of an expectation that could not run, None where it ran.

    One that ran carries {"raised_exception": False, ...}; one that did not carries a dictionary
    of such dictionaries, a key for each metric that it could not compute.
    """
    problems = [info] if "raised_exception" in info else info.values()
    messages = {problem["exception_message"] for problem in problems if problem["raised_exception"]}
    return "; ".join(sorted(messages)) or None


def _observation(found: Mapping[str, Any]) -> str:
    """What an expectation about the whole table or column saw, in words."""
    if missing := found.get("partial_missing_list"):
        return f"missing {', '.join(map(repr, missing))}"
    return f"observed {found.get('observed_value')}"


def _examples(
    rule: Rule, found: Mapping[str, Any], frame: "pd.DataFrame", id_column: str
) -> tuple[Example, ...]:
    """The first rows whose value is among the unexpected ones that Great Expectations showed."""
    values = frame[rule.column]
    breaks = values.isin(found["partial_unexpected_list"])
    rows = breaks.to_numpy().nonzero()[0][:NUM_EXAMPLES]
    return tuple(
        Example(id=_row_name(frame, id_column, row), value=_scalar(values.iloc[row]))
        for row in rows
    )


def _row_name(frame: "pd.DataFrame", id_column: str, row: int) -> str:
    name = frame[id_column].iloc[row] if id_column in frame.columns else None
    return str(name) if _scalar(name) is not None else f"row {row}"


def _scalar(value: Any) -> Scalar:
    """`value` as JSON can hold it: numpy numbers unwrapped, NaN as None, long text cut."""
    plain = value.item() if hasattr(value, "item") else value
    if plain is None or isinstance(plain, bool | int):
        return plain
    if isinstance(plain, float):
        if math.isnan(plain):
            return None
        return plain if math.isfinite(plain) else str(plain)
    text = str(plain)
    if len(text) <= _MAX_EXAMPLE_CHARACTERS:
        return text
    return text[: _MAX_EXAMPLE_CHARACTERS - 1] + "…"
