import pickle
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.contract import Contract, Rule
from data_contracts.contract_result import ContractBreachError, ContractResult, RuleOutcome, enforce
from data_contracts.validation import validate, validate_slices

UNIQUE = Rule("clips.id_is_unique", "id", "expect_column_values_to_be_unique", "Rename one.")
SHORT = Rule(
    "clips.is_short",
    "seconds",
    "expect_column_values_to_be_between",
    "Cut it.",
    {"max_value": 30},
)
CLIPS = Contract("clips", "id", columns=("id",), nullable=("seconds",), rules=(UNIQUE, SHORT))
STRICT = replace(CLIPS, columns=("id", "seconds"), nullable=())


def outcomes(result: ContractResult) -> dict[str, RuleOutcome]:
    return {outcome.rule: outcome for outcome in result.outcomes}


def clips(ids: list[str | None], seconds: list[float | None]) -> pd.DataFrame:
    return pd.DataFrame({"id": pd.Series(ids, dtype="str"), "seconds": seconds})


def test_a_table_that_meets_its_contract_passes_in_the_order_of_the_rules() -> None:
    result = validate(CLIPS, clips(["a", "b"], [1.0, 30.0]), "clips.jsonl")

    enforce(result)
    assert (result.contract, result.table, result.rows) == ("clips", "clips.jsonl", 2)
    assert [(o.rule, o.success, o.unexpected_count, o.examples) for o in result.outcomes] == [
        ("clips.has_rows", True, 0, ()),
        ("clips.id_is_given", True, 0, ()),
        ("clips.id_is_unique", True, 0, ()),
        ("clips.is_short", True, 0, ()),
    ]


def test_a_breach_names_rules_counts_three_examples_and_remedies() -> None:
    frame = clips(["a", "b", "c", "d", "e", "e"], [31.0, 1.0, 31.0, 31.0, 31.0, 1.0])

    with pytest.raises(ContractBreachError) as caught:
        enforce(validate(CLIPS, frame, "clips.jsonl"))

    assert str(caught.value) == (
        "clips.jsonl (6 rows) breaks 2 rules of the contract 'clips':\n"
        "- clips.id_is_unique: 2 rows\n"
        "    'e': 'e'\n"
        "    'e': 'e'\n"
        "    Remedy: Rename one.\n"
        "- clips.is_short: 4 rows\n"
        "    'a': 31.0\n"
        "    'c': 31.0\n"
        "    'd': 31.0\n"
        "    Remedy: Cut it."
    )


def test_a_breach_survives_the_way_back_from_another_process() -> None:
    result = validate(CLIPS, clips(["a"], [31.0]), "clips")

    error = pickle.loads(pickle.dumps(ContractBreachError(result)))

    assert error.result == result
    assert "'a': 31.0" in str(error)


def test_a_null_breaks_a_given_column_and_passes_a_nullable_one() -> None:
    frame = clips(["a", "b"], [None, 1.0])

    assert not validate(CLIPS, frame, "clips").failed
    (broken,) = validate(STRICT, frame, "clips").failed
    assert broken.rule == "clips.seconds_is_given"
    assert [(e.id, e.value) for e in broken.examples] == [("a", None)]


def test_a_row_without_an_id_is_named_by_its_number() -> None:
    (broken,) = validate(CLIPS, clips(["a", None], [1.0, 1.0]), "clips").failed

    assert broken.rule == "clips.id_is_given"
    assert [(e.id, e.value) for e in broken.examples] == [("row 1", None)]


def test_an_empty_table_is_refused_although_every_value_rule_passes() -> None:
    result = validate(CLIPS, clips([], []), "clips")

    assert [o.rule for o in result.failed] == ["clips.has_rows"]
    assert result.failed[0].detail == "observed 0"
    assert not validate(replace(CLIPS, min_rows=0), clips([], []), "clips").failed


def test_a_table_with_too_few_rows_is_refused_with_what_it_has() -> None:
    (broken,) = validate(replace(CLIPS, min_rows=3), clips(["a", "b"], [1.0, 1.0]), "c").failed

    assert "observed 2" in str(broken)
    assert "at least 3:" in broken.remedy


def test_a_missing_column_breaks_every_rule_about_it_and_is_named() -> None:
    frame = clips(["a", "a"], [31.0, 1.0])

    without_seconds = outcomes(validate(STRICT, frame[["id"]], "clips"))
    assert {name for name, o in without_seconds.items() if not o.success} == {
        "clips.id_is_unique",
        "clips.seconds_is_given",
        "clips.is_short",
    }
    assert '"seconds"' in str(without_seconds["clips.is_short"].detail)
    assert without_seconds["clips.is_short"].unexpected_count == 0

    without_id = outcomes(validate(CLIPS, frame[["seconds"]], "clips"))
    assert '"id"' in str(without_id["clips.id_is_given"].detail)
    assert without_id["clips.is_short"].examples[0].id == "row 0"


def test_a_missing_nullable_column_is_refused_too() -> None:
    result = validate(CLIPS, clips(["a"], [1.0])[["id"]], "clips")

    assert [o.rule for o in result.failed] == ["clips.is_short"]


def test_a_column_of_another_type_is_a_broken_rule_and_not_a_crash() -> None:
    frame = pd.DataFrame({"id": ["a"], "seconds": ["long"]})

    (broken,) = validate(CLIPS, frame, "clips").failed

    assert broken.rule == "clips.is_short"
    assert "same type" in str(broken.detail)


def test_a_column_that_lacks_a_wanted_value_is_told_which() -> None:
    modes = Rule(
        "clips.both",
        "id",
        "expect_column_distinct_values_to_contain_set",
        "Add it.",
        {"value_set": ["a", "z"]},
    )

    (broken,) = validate(replace(CLIPS, rules=(SHORT, modes)), clips(["a"], [1.0]), "c").failed

    assert broken.detail == "missing 'z'"


def test_a_report_rule_never_stops_but_is_reported_with_examples() -> None:
    contract = replace(CLIPS, rules=(UNIQUE, replace(SHORT, severity="report")))

    result = validate(contract, clips(["a", "b"], [31.0, 1.0]), "clips")

    enforce(result)
    assert [(o.rule, o.examples[0].id) for o in result.reported] == [("clips.is_short", "a")]


def test_a_tolerated_share_succeeds_and_still_counts() -> None:
    tolerant = replace(SHORT, arguments={"max_value": 30, "mostly": 0.5})
    contract = replace(CLIPS, rules=(UNIQUE, tolerant))

    half = outcomes(validate(contract, clips(["a", "b"], [31.0, 1.0]), "c"))["clips.is_short"]
    all_of_them = validate(contract, clips(["a", "b"], [31.0, 99.0]), "c")

    assert (half.success, half.unexpected_count, half.examples[0].id) == (True, 1, "a")
    assert [o.rule for o in all_of_them.failed] == ["clips.is_short"]


def test_a_result_reads_back_from_its_json_with_plain_values() -> None:
    result = validate(CLIPS, clips(["a", "x" * 500], [float("inf"), 31.5]), "clips")

    assert ContractResult.model_validate_json(result.to_json()) == result
    first, second = outcomes(result)["clips.is_short"].examples
    assert (first.value, second.value) == ("inf", 31.5)


def test_a_long_value_is_cut_in_examples() -> None:
    frame = clips(["x" * 500, "x" * 500], [1.0, 1.0])

    (broken,) = validate(CLIPS, frame, "clips").failed

    assert broken.examples[0].value == "x" * 199 + "…"


def test_an_index_that_repeats_does_not_confuse_the_examples() -> None:
    frame = clips(["a", "b", "c"], [1.0, 31.0, 1.0]).set_axis([7, 7, 7])

    (broken,) = validate(CLIPS, frame, "clips").failed

    assert [(e.id, e.value) for e in broken.examples] == [("b", 31.0)]


def test_threads_that_validate_at_once_get_their_own_results() -> None:
    def one(number: int) -> ContractResult:
        return validate(CLIPS, clips([f"clip-{number}"], [31.0 + number]), f"table-{number}")

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(8)))

    assert [(r.table, r.failed[0].examples[0].value) for r in results] == [
        (f"table-{number}", 31.0 + number) for number in range(8)
    ]


def test_validation_writes_no_file_opens_no_connection_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("validation opened a connection")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", refuse)

    assert validate(CLIPS, clips(["a"], [31.0]), "clips").failed

    assert list(tmp_path.rglob("*")) == []
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_a_rule_about_a_whole_column_is_not_held_against_slices_of_it() -> None:
    slices = [clips(["a"], [1.0]), clips(["a"], [1.0])]

    with pytest.raises(ValueError, match=r"\['clips.id_is_unique'\] are about whole columns"):
        validate_slices(CLIPS, slices, "clips")


def test_a_tolerated_share_is_one_of_all_slices_together() -> None:
    tolerant = replace(SHORT, arguments={"max_value": 30, "mostly": 0.75})
    contract = Contract("clips", "id", columns=("id",), nullable=("seconds",), rules=(tolerant,))
    good, bad = clips(["a", "b", "c"], [1.0, None, 2.0]), clips(["d"], [31.0])

    two_of_four = validate_slices(contract, [good, bad, bad], "clips")
    assert not outcomes(two_of_four)["clips.is_short"].success
    one_of_four = validate_slices(contract, [bad, good, clips(["e"], [3.0])], "clips")
    outcome = outcomes(one_of_four)["clips.is_short"]
    assert (one_of_four.rows, outcome.success, outcome.unexpected_count) == (5, True, 1)
    assert outcome.examples[0].id == "d"


def test_a_tolerated_share_is_one_of_the_values_that_are_given() -> None:
    """Great Expectations: of a `mostly` of 0.5, one bad value in two is met, one in one is not."""
    tolerant = replace(SHORT, arguments={"max_value": 30, "mostly": 0.5})
    contract = Contract("clips", "id", columns=("id",), nullable=("seconds",), rules=(tolerant,))
    bad, nulls = clips(["a"], [31.0]), clips(["b", "c", "d"], [None, None, None])

    alone = validate_slices(contract, [bad, nulls], "clips")
    assert not outcomes(alone)["clips.is_short"].success
    one_of_two = validate_slices(contract, [bad, nulls, clips(["e"], [1.0])], "clips")
    assert outcomes(one_of_two)["clips.is_short"].success
