from dataclasses import replace

import pytest

from data_contracts.contract import Contract, Rule

UNIQUE = Rule("clips.id_is_unique", "id", "expect_column_values_to_be_unique", "Rename one.")


def test_a_contract_refuses_a_rule_about_an_undeclared_column() -> None:
    short = replace(UNIQUE, name="clips.is_short", column="seconds")
    with pytest.raises(ValueError, match=r"tests the columns \['seconds'\] without declaring"):
        Contract("clips", "id", columns=("id",), nullable=(), rules=(UNIQUE, short))


def test_a_contract_refuses_a_nullable_column_that_no_rule_tests() -> None:
    with pytest.raises(ValueError, match=r"no rule for the nullable columns \['seconds'\]"):
        Contract("clips", "id", columns=("id",), nullable=("seconds",), rules=(UNIQUE,))


def test_a_contract_refuses_two_rules_of_one_name() -> None:
    with pytest.raises(ValueError, match=r"'clips.id_is_unique'\] twice"):
        Contract("clips", "id", columns=("id",), nullable=(), rules=(UNIQUE, UNIQUE))
