"""Output in encodings that lack characters."""

import os
import subprocess
import sys

import pytest

from tests.support.documents import ROOT

PRINTS = """
import os, subprocess, sys
from flows import main
from flows.tables import print_table
from rich.console import Console
from rich.table import Table

def run_command():
    print("größe ↑")
    table = Table("suite", "WER ↓", title="日本")
    table.add_row("asr", "12.5%")
    print_table(Console(), table)
    subprocess.run([sys.executable, "-c", "print('\\u2193')"], check=True)
    return 0

main.run_command = run_command
main.main()
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_finished_run_ends_with_0_whatever_the_terminal_can_show(encoding: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PRINTS],
        check=False,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    text = ended.stdout.decode(encoding)
    assert "größe ↑".encode(encoding, "backslashreplace").decode(encoding) in text
    assert "↓".encode(encoding, "backslashreplace").decode(encoding) == text.splitlines()[-1]
    assert "12.5%" in text
