"""Results of contracts as one HTML page that opens offline.

Great Expectations' own Data Docs load their style from a content delivery network and fail on
numpy numbers, so the page is written here.
"""

from collections.abc import Iterable, Sequence

from data_contracts.contract_result import ContractResult, RuleOutcome
from data_contracts.pages.page import render


def render_page(results: Sequence[ContractResult], title: str) -> str:
    """Write one self-contained HTML document with a table for each result, broken rules first."""
    return render(
        "contract.html",
        title=title,
        results=results,
        broken=sum(len(result.failed) for result in results),
        noted=sum(len(result.reported) for result in results),
        ranked=_ranked,
        repr=repr,
    )


def _ranked(outcomes: Iterable[RuleOutcome]) -> list[RuleOutcome]:
    """Sort rules: broken ones first, then those that only report, then those that are met."""
    return sorted(outcomes, key=lambda outcome: (outcome.success, outcome.severity == "report"))
