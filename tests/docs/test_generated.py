"""Generated pages are those that their commands write now."""

import json

from benchmarks import page as benchmarks_page
from flows.config_keys import config_keys, environment_keys, keys_as_markdown
from flows.pipeline import config_type
from infra.settings import Settings
from tests.support.documents import ROOT


def test_the_page_of_the_configuration_is_not_stale() -> None:
    written = (ROOT / "docs/configuration.md").read_text()
    assert written == configuration_page(), "run: q2a config --markdown > docs/configuration.md"


def test_the_page_of_the_benchmarks_is_not_stale() -> None:
    results = json.loads(benchmarks_page.RESULTS.read_text())
    written = (ROOT / "docs/benchmarks.md").read_text()
    assert written == benchmarks_page.page(results), (
        "run: python -m benchmarks.page > docs/benchmarks.md"
    )


def test_every_key_has_a_meaning() -> None:
    keys = [*config_keys(config_type()), *environment_keys(Settings)]
    assert len(keys) > 100
    assert [key.key for key in keys if not key.meaning] == []


def configuration_page() -> str:
    return keys_as_markdown(config_keys(config_type()), environment_keys(Settings)) + "\n"
