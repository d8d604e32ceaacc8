"""The README's own job, for real: its commands as they stand, with few steps of training."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.documents import ROOT, commands_of
from tests.support.own_job import small, spoken_rows

pytestmark = pytest.mark.drill

Q2A = [sys.executable, "-c", "from flows.main import main; main()"]


def own_job() -> list[list[str]]:
    """The commands of the README that run with data of one's own, in their order."""
    commands = commands_of((ROOT / "README.md").read_text())
    return [list(words) for words in commands if words[:2] == ("q2a", "run") and "--data" in words]


def run(words: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "Q2A_HOME": str(folder / "home")}
    ended = subprocess.run(
        [*Q2A, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{shlex.join(words)}\n{ended.stdout}\n{ended.stderr}"


@pytest.fixture
def folder(tmp_path: Path, small_manifest: Path) -> Path:
    """What the README supposes: recordings, pairs, a profile of one's own and a checkpoint."""

    def write(name: str, rows: list[Mapping[str, object]]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    spoken = spoken_rows(30)
    write("mine.jsonl", [*spoken])
    pairs = [
        {
            "prompt": "What is said?",
            "audios": [row["audio"]],
            "chosen": row["text"],
            "rejected": "?",
        }
        for row in spoken
    ]
    write("pairs.jsonl", [*pairs])
    example = yaml.safe_load((ROOT / "examples/own_recordings.yaml").read_text())
    for stage in ("pretrain", "sft"):
        example[stage]["optimizer"] |= {"steps": 4, "warmup_steps": 1}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(example))
    run(["run", "-p", "tiny", "-d", str(small_manifest), "--stages", "ingest,start"], tmp_path)
    (checkpoint,) = (tmp_path / "home/store/start").glob("*/checkpoint")
    shutil.copytree(checkpoint, tmp_path / "CHECKPOINT")
    return tmp_path


def test_the_commands_of_your_own_job_end_well(folder: Path) -> None:
    job = own_job()
    assert len(job) == 5
    for words in job:
        profile = words[words.index("--profile") + 1]
        few = () if profile == "mine.yaml" else small(profile)
        run([*words[1:], *(part for override in few for part in ("--set", override))], folder)
    reports = list((folder / "home").glob("store/evaluate/*/report.json"))
    compared = sorted(tuple(json.loads(path.read_text())["checkpoints"]) for path in reports)
    assert compared == [
        ("pretrain", "sft"), ("start",), ("start", "dpo"), ("start", "sft"), ("start", "sft")
    ]  # fmt: skip
