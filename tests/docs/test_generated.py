"""Generated pages are those that their commands write now."""

import json

from benchmarks import page as benchmarks_page
from flows import configuration_page
from flows.config import PipelineConfig
from tests.support.documents import ROOT


def test_the_page_of_the_configuration_is_not_stale() -> None:
    written = (ROOT / "docs/configuration.md").read_text()
    assert written == configuration_page.page(), (
        "run: python -m flows.configuration_page > docs/configuration.md"
    )


def test_the_page_of_the_benchmarks_is_not_stale() -> None:
    results = json.loads(benchmarks_page.RESULTS.read_text())
    written = (ROOT / "docs/benchmarks.md").read_text()
    assert written == benchmarks_page.page(results), (
        "run: python -m benchmarks.page > docs/benchmarks.md"
    )


def test_every_key_of_a_profile_has_a_row() -> None:
    page = configuration_page.page()

    def leaves(schema: dict[str, object]) -> set[str]:
        groups = [schema, *schema.get("$defs", {}).values()]  # type: ignore[attr-defined]
        return {name for group in groups for name in group.get("properties", {})}

    names = leaves(PipelineConfig.model_json_schema())
    assert len(names) > 100
    assert [name for name in sorted(names) if f"| `{name}` |" not in page] == []


def test_a_row_tells_type_bounds_default_and_meaning() -> None:
    row = "| `min_margin` | number, ≥ 0 | `0.02` | Score difference that is not a tie. |"
    assert row in configuration_page.page()
