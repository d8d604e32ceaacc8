"""Everything that the documents point at is there: links, pages, files named in the text."""

import re
from pathlib import Path

import pytest
import yaml

from tests.support.documents import PAGES, ROOT, languages_of_blocks

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_FOLDERS = ("flows", "tasks", "model", "infra", "data_contracts", "benchmarks", "data", "docs")
_PATH = re.compile(rf"(?:{'|'.join((*_FOLDERS, 'tests', 'examples'))})/[\w./*-]*")
_PLACEHOLDER = re.compile(r"\b(?:NAME|PATH)\b")
_BLOCK = re.compile(r"```.*?```", re.DOTALL)
_MOST_BYTES = 10_000
"""Of the README: what a newcomer reads at once."""


def named_files(text: str) -> set[str]:
    """Paths of this repository that stand in code quotes of a text, outside of its blocks."""
    quoted = _CODE.findall(_BLOCK.sub("", text))
    paths = (match for code in quoted if (match := _PATH.fullmatch(code.strip())))
    return {path[0] for path in paths if not _PLACEHOLDER.search(path[0])}


def is_there(path: str) -> bool:
    """Whether a path of this repository, which may have a star, names something."""
    return any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


def relative_links(text: str) -> set[str]:
    """The targets of a text's links that lie in this repository, without their anchors."""
    targets = (target.partition("#")[0] for target in _LINK.findall(_BLOCK.sub("", text)))
    return {target for target in targets if target and "://" not in target}


def test_missing_files_would_be_found() -> None:
    text = "see `flows/pipeline.py`, `tasks/*.py`, `tasks/none.py`, `tasks/NAME.py`, [a](b.md#c)"
    assert named_files(text) == {"flows/pipeline.py", "tasks/*.py", "tasks/none.py"}
    assert [path for path in sorted(named_files(text)) if not is_there(path)] == ["tasks/none.py"]
    assert relative_links(text) == {"b.md"}


def test_the_readme_is_read_at_once() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= _MOST_BYTES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_of_a_page_are_there(page: Path) -> None:
    text = page.read_text()
    assert [link for link in relative_links(text) if not (page.parent / link).exists()] == []
    assert [path for path in named_files(text) if not is_there(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_say_their_language_so_that_no_command_hides(page: Path) -> None:
    known = {"bash", "console", "text", "json", "yaml", "python"}
    assert set(languages_of_blocks(page.read_text())) <= known


def test_every_page_is_in_the_table_of_contents() -> None:
    def pages_of(entry: object) -> set[str]:
        if isinstance(entry, dict):
            return {page for value in entry.values() for page in pages_of(value)}
        if isinstance(entry, list):
            return {page for part in entry for page in pages_of(part)}
        return {str(entry)}

    listed = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert listed == there
