from data_contracts.contract import Severity
from data_contracts.contract_page import render_page
from data_contracts.contract_result import ContractResult, Example, RuleOutcome
from tests.support.html_page import Page

HOSTILE = "<script>alert('x')</script>\"&"


def outcome(
    rule: str, *examples: Example, severity: Severity = "stop", detail: str | None = None
) -> RuleOutcome:
    return RuleOutcome(
        rule=rule,
        column="id",
        severity=severity,
        success=not examples and detail is None,
        unexpected_count=1234 if examples else 0,
        examples=examples,
        detail=detail,
        remedy=f"Repair {rule}.",
    )


def result(*outcomes: RuleOutcome, table: str = "manifest.jsonl") -> ContractResult:
    return ContractResult(contract="manifest", table=table, rows=5453, outcomes=outcomes)


BROKEN = outcome("m.unique", Example(id="a", value="x"), Example(id="b", value=0.5))
NOTED = outcome("m.loud", Example(id="c", value=None), severity="report")
EMPTY = outcome("m.has_rows", detail="observed 0")
MET = outcome("m.split")


def test_a_row_tells_status_rule_count_examples_and_remedy_with_broken_rules_first() -> None:
    page = Page(render_page([result(MET, NOTED, BROKEN, EMPTY)], "Contracts"))

    assert page.rows == [
        ["Status", "Rule", "Rows", "Examples", "What to do"],
        ["broken", "m.unique", "1,234", "a: 'x'b: 0.5", "Repair m.unique."],
        ["broken", "m.has_rows", "0", "observed 0", "Repair m.has_rows."],
        ["look", "m.loud", "1,234", "c: None", "Repair m.loud."],
        ["met", "m.split", "0", "", ""],
    ]


def test_each_table_gets_its_verdict() -> None:
    page = render_page([result(MET), result(MET, NOTED), result(BROKEN, NOTED)], "Contracts")

    assert '<strong class="good">met.</strong>' in page
    assert '<strong class="noted">met, rules to look at: 1.</strong>' in page
    assert '<strong class="bad">broken, rules: 1.</strong>' in page
    assert "Tables checked: 3. Rules broken: 1. Rules to look at: 2." in page


def test_hostile_values_are_shown_and_not_run() -> None:
    bad = RuleOutcome(
        rule=HOSTILE,
        column=HOSTILE,
        severity="stop",
        success=False,
        unexpected_count=1,
        examples=(Example(id=HOSTILE, value=HOSTILE),),
        detail=None,
        remedy=HOSTILE,
    )
    with_detail = bad.model_copy(update={"examples": (), "detail": HOSTILE})
    breach = ContractResult(contract=HOSTILE, table=HOSTILE, rows=1, outcomes=(bad, with_detail))

    text = render_page([breach], HOSTILE)
    page = Page(text)

    assert "script" not in page.tags
    assert "<script" not in text
    status, rule, _, examples, remedy = page.rows[1]
    assert (status, rule, remedy) == ("broken", HOSTILE, HOSTILE)
    assert examples == f"{HOSTILE}: {HOSTILE!r}"
    assert page.rows[2][3] == HOSTILE


def test_the_page_asks_the_network_for_nothing_and_is_usable_without_colours_and_mouse() -> None:
    text = render_page([result(BROKEN), result(NOTED)], "Contracts")
    page = Page(text)
    attributes = [pair for _, pairs in page.elements for pair in pairs.items()]
    names = {name for name, _ in attributes}

    assert not {"link", "script", "img", "iframe"} & page.tags
    assert not {"src", "href"} & names
    assert "url(" not in text
    assert "@import" not in text
    assert "color-scheme: light dark" in text
    assert {("lang", "en"), ("scope", "col"), ("scope", "row"), ("tabindex", "0")} <= set(
        attributes
    )
    labels = [value for name, value in attributes if name == "aria-labelledby"]
    ids = [value for name, value in attributes if name == "id"]
    assert ids == ["table-1", "table-2"]
    assert set(labels) == set(ids)


def test_a_page_without_results_says_so() -> None:
    assert "Tables checked: 0." in render_page([], "Contracts")
