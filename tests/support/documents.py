"""The documents as tests read them: their pages, and the commands in their blocks of shell."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_BLOCK = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SHELL = {"bash", "console", "sh", "shell"}


def commands_of(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands of all blocks of shell, as words; comments and prompts are left out."""
    for language, body in _BLOCK.findall(text):
        if language in _SHELL:
            for line in body.replace("\\\n", " ").splitlines():
                words = shlex.split(line.strip().removeprefix("$ "), comments=True)
                if words:
                    yield (words[0].removeprefix(".venv/bin/"), *words[1:])


def languages_of_blocks(text: str) -> list[str]:
    """Return the language that each block names, "" where it names none."""
    return [language for language, _ in _BLOCK.findall(text)]


def all_commands() -> dict[str, Path]:
    """Return every command of every page, as one line, with a page that has it."""
    return {shlex.join(words): page for page in PAGES for words in commands_of(page.read_text())}
