"""No Python file of the repository is too long to be read at once."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 300


def too_long(folder: Path, files: Iterable[str]) -> list[str]:
    """A message for each file below a folder that has more lines than allowed."""
    lengths = {file: len((folder / file).read_text("utf-8").splitlines()) for file in files}
    return [
        f"{file} has {length} lines, a Python file at most {MOST_LINES}: split it by subject"
        for file, length in lengths.items()
        if length > MOST_LINES
    ]


def test_a_file_of_one_line_too_many_would_be_found(tmp_path: Path) -> None:
    for name, length in (("whole.py", 300), ("long.py", 301)):
        (tmp_path / name).write_text("pass\n" * length)
    assert too_long(tmp_path, ["whole.py", "long.py"]) == [
        "long.py has 301 lines, a Python file at most 300: split it by subject"
    ]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only git knows which files are tracked")
def test_no_tracked_python_file_is_too_long() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    files = [file for file in tracked if (ROOT / file).is_file()]
    assert len(files) > 100
    messages = too_long(ROOT, files)
    assert messages == [], "\n".join(messages)
