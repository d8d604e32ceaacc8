"""Messages that the page about troubleshooting explains are messages that the code has."""

import ast
import re

import pytest

from tests.support.documents import ROOT

PAGE = ROOT / "docs/troubleshooting.md"
_PACKAGES = ("flows", "tasks", "model", "infra", "data_contracts")
_ROW = re.compile(r"^\| ((?:`[^`]+`(?:, )?)+)", re.MULTILINE)
_PLACEHOLDER = re.compile(
    r"'?\[?\.\.\.\]?'?|'?\b(?:[A-Z]|NAME|PATH|URI|ID|FILE|RECORD|ROOT|TEXT)\b'?"
)
"""What stands for something that differs from case to case."""


def texts() -> str:
    """Return all pieces of text of the product's code, a line each."""
    pieces = []
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    pieces.append(node.value)
    return "\n".join(pieces)


def messages() -> list[str]:
    """Return the messages in the first column of the page's tables."""
    rows = _ROW.findall(PAGE.read_text())
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


def longest_part(message: str) -> str:
    """Return the longest part of a message between what differs from case to case."""
    return max((part.strip(" ()=,.:;'") for part in _PLACEHOLDER.split(message)), key=len)


TEXTS = texts()


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_exists(message: str) -> None:
    assert longest_part(message).removeprefix("bad").strip() in TEXTS
