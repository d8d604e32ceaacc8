"""Which rules of a contract some tables break."""

from collections.abc import Iterable

import pandas as pd

from data_contracts.contract import Contract
from data_contracts.contract_result import RuleOutcome
from data_contracts.validation import validate_slices

Shown = dict[str, list[tuple[str, object]]]


def broken(contract: Contract, *slices: pd.DataFrame) -> Shown:
    """Rule (without the contract's name) to its examples, for every rule that is not met."""
    outcomes = validate_slices(contract, slices, contract.name).outcomes
    return {
        o.rule.removeprefix(contract.name + "."): [(e.id, e.value) for e in o.examples]
        for o in outcomes
        if not o.success
    }


def outcome(contract: Contract, rule: str, *slices: pd.DataFrame) -> RuleOutcome:
    """What became of one rule, which may be met."""
    outcomes = validate_slices(contract, slices, contract.name).outcomes
    return next(o for o in outcomes if o.rule == f"{contract.name}.{rule}")


def column(slices: Iterable[pd.DataFrame], name: str) -> pd.Series:
    """One column of all slices."""
    return pd.concat([frame[name] for frame in slices], ignore_index=True)
