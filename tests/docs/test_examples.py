"""The examples are profiles: they load, and their names are free."""

from pathlib import Path

import pytest

from flows.config import load_config
from flows.profile_files import profile_names
from tests.support.documents import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_profile_once_it_is_copied(example: Path) -> None:
    config = load_config(str(example))
    assert config.profile == example.stem
    assert example.stem not in profile_names()


def test_the_page_of_the_examples_names_each() -> None:
    page = (ROOT / "examples/README.md").read_text()
    assert len(EXAMPLES) == 3
    assert all(f"({example.name})" in page for example in EXAMPLES)
