"""Validation of tables by their contracts, with Great Expectations.

Three of its habits would let bad tables pass, so all contracts close them alike:

- Value expectations skip nulls. A column is therefore declared either as given (an implied rule
  refuses nulls) or as nullable, and a rule about an undeclared column is refused.
- An empty table passes every value expectation. An implied rule asks for `min_rows`.
- A missing column yields an exception instead of a result, in a shape of its own. It becomes a
  broken rule with the exception's message.
"""

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from data_contracts.contract import Contract, Rule
from data_contracts.contract_result import ContractResult, Example, RuleOutcome, Scalar
from data_contracts.expectations import BETWEEN, IN_SET, MATCHES, NOT_NULL, NULL, ROW_COUNT

if TYPE_CHECKING:
    import pandas as pd

NUM_EXAMPLES = 3
_MAX_EXAMPLE_CHARACTERS = 200

# `get_context` replaces a global of Great Expectations, so two threads must not validate at once.
_ONE_AT_A_TIME = threading.Lock()


def validate(contract: Contract, frame: "pd.DataFrame", name: str) -> ContractResult:
    """Check `frame`, called `name` in messages, by every rule of `contract`.

    It writes no files and sends nothing. A bad table raises nothing: see `enforce`.
    """
    return validate_slices(contract, [frame], name)


def validate_slices(
    contract: Contract, frames: "Iterable[pd.DataFrame]", name: str
) -> ContractResult:
    """Check a table that comes in slices, of which one at a time is held, like `validate`.

    Raises:
        ValueError: there are several, and the contract has a rule that no slice alone can meet.
    """
    rows = 0
    results: list[dict[str, _RuleResult]] = []
    with _ONE_AT_A_TIME:
        definition = _definition(contract)
        for frame in frames:
            if results and (whole := _rules_of_whole_columns(contract)):
                raise ValueError(
                    f"the rules {whole} are about whole columns, and the table comes in slices: "
                    "give it in one"
                )
            rows += len(frame)
            results.append(_results_by_rule(contract, definition, frame))
    return ContractResult(
        contract=contract.name,
        table=name,
        rows=rows,
        outcomes=tuple(
            _outcome(rule, [by_rule[rule.name] for by_rule in results])
            for rule in contract.all_rules
        ),
    )


@dataclass(frozen=True)
class _RuleResult:
    """The result of one rule for one slice."""

    success: bool
    tested: int
    """Number of values that are not null."""
    unexpected: int
    """Number of values that break the rule."""
    examples: tuple[Example, ...]
    detail: str | None


def _definition(contract: Contract) -> Any:
    """Make what validates one slice after the other: it takes a table each time that it runs."""
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
    context = gx.get_context(mode="ephemeral", project_config=quiet)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    whole = asset.add_batch_definition_whole_dataframe("all")
    context.suites.add(suite)
    # A batch that is made and then validated would have its table hashed twice.
    return context.validation_definitions.add(
        gx.ValidationDefinition(name=contract.name, data=whole, suite=suite)
    )


def _results_by_rule(
    contract: Contract, definition: Any, frame: "pd.DataFrame"
) -> dict[str, _RuleResult]:
    # BASIC counts and shows values. Asking for row indices too takes 27 s for 1e6 bad rows.
    report = definition.run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "BASIC", "partial_unexpected_count": NUM_EXAMPLES},
    )
    # Results come in another order than the rules: those with exceptions first.
    by_rule = {result.expectation_config.meta["rule"]: result for result in report.results}
    return {
        rule.name: _rule_result(rule, by_rule[rule.name], frame, contract.id_column)
        for rule in contract.all_rules
    }


def _rule_result(rule: Rule, result: Any, frame: "pd.DataFrame", id_column: str) -> _RuleResult:
    counts = result.result
    unexpected = int(counts.get("unexpected_count", 0))
    detail = None
    if not result.success and unexpected == 0:
        detail = _exception_message(result.exception_info) or _observation(counts)
    return _RuleResult(
        success=bool(result.success),
        tested=int(counts.get("element_count", 0)) - int(counts.get("missing_count", 0)),
        unexpected=unexpected,
        examples=_examples(rule, counts, frame, id_column) if unexpected else (),
        detail=detail,
    )


def _rules_of_whole_columns(contract: Contract) -> list[str]:
    """Return the names of the rules that compare rows, so that no slice alone can meet them."""
    # Of the number of rows, one slice with enough will do.
    of_rows = (NULL, NOT_NULL, IN_SET, BETWEEN, MATCHES, ROW_COUNT)
    return sorted(rule.name for rule in contract.all_rules if rule.expectation not in of_rows)


def _outcome(rule: Rule, results: Sequence[_RuleResult]) -> RuleOutcome:
    """Join the results of all slices for one rule."""
    unexpected = sum(result.unexpected for result in results)
    mostly = rule.arguments.get("mostly")
    if rule.expectation == ROW_COUNT:
        success = any(result.success for result in results)
    elif (
        len(results) > 1 and mostly is not None and all(result.detail is None for result in results)
    ):
        success = unexpected <= (1 - mostly) * sum(result.tested for result in results)
    else:
        success = all(result.success for result in results)
    return RuleOutcome(
        rule=rule.name,
        column=rule.column,
        severity=rule.severity,
        success=success,
        unexpected_count=unexpected,
        examples=tuple(islice((e for result in results for e in result.examples), NUM_EXAMPLES)),
        detail=None
        if success
        else next((result.detail for result in results if result.detail), None),
        remedy=rule.remedy,
    )


def _exception_message(info: Mapping[str, Any]) -> str | None:
    """Return the message of an expectation that could not run, None where it ran.

    One that ran carries {"raised_exception": False, ...}; one that did not carries a dictionary
    of such dictionaries, a key for each metric that it could not compute.
    """
    problems = [info] if "raised_exception" in info else info.values()
    messages = {problem["exception_message"] for problem in problems if problem["raised_exception"]}
    return "; ".join(sorted(messages)) or None


def _observation(counts: Mapping[str, Any]) -> str:
    """Describe what an expectation about the whole table or column saw."""
    if missing := counts.get("partial_missing_list"):
        return f"missing {', '.join(map(repr, missing))}"
    return f"observed {counts.get('observed_value')}"


def _examples(
    rule: Rule, counts: Mapping[str, Any], frame: "pd.DataFrame", id_column: str
) -> tuple[Example, ...]:
    """Return the first rows whose value is among the unexpected ones that the report shows."""
    values = frame[rule.column]
    breaks = values.isin(counts["partial_unexpected_list"])
    rows = breaks.to_numpy().nonzero()[0][:NUM_EXAMPLES]
    return tuple(
        Example(id=_row_name(frame, id_column, row), value=_scalar(values.iloc[row]))
        for row in rows
    )


def _row_name(frame: "pd.DataFrame", id_column: str, row: int) -> str:
    name = frame[id_column].iloc[row] if id_column in frame.columns else None
    return str(name) if _scalar(name) is not None else f"row {row}"


def _scalar(value: Any) -> Scalar:
    """Return `value` in a form for JSON: numpy numbers unwrapped, NaN as None, long text cut."""
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
