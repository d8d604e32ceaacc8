"""The README's own job, for real: its commands with the profile `tiny` in place of its own."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT, commands_of

pytestmark = pytest.mark.drill


def own_job() -> list[list[str]]:
    """The commands that ingest and run with `--profile mine`, in their order."""
    commands = commands_of((ROOT / "README.md").read_text())
    return [
        list(words)
        for words in commands
        if words[0] == "q2a" and words[1] in ("ingest", "run") and "mine" in words
    ]


def test_the_commands_of_your_own_job_end_well(tmp_path: Path, small_manifest: Path) -> None:
    job = own_job()
    assert len(job) >= 3
    for words in job:
        command = [{"mine": "tiny", "mine.jsonl": str(small_manifest)}.get(w, w) for w in words]
        if "--data" not in command:
            command += ["--set", f"data.manifest={small_manifest}"]
        ended = subprocess.run(
            [sys.executable, "-c", "from flows.main import main; main()", *command[1:]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "Q2A_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{shlex.join(command)}\n{ended.stdout}\n{ended.stderr}"
    assert len(list((tmp_path / "home").glob("store/evaluate/*/report.html"))) == 1
