"""Every command in the documents is checked: the cheap ones run, the others as far as they parse.

A command that stands in no table fails `test_every_command_is_in_one_table`.
"""

import json
import re
import shlex
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, ON_REQUEST
from flows.config import load_config
from flows.main import main
from tasks.sources.catalogue import CorpusSource
from tests.support.documents import PAGES, ROOT, all_commands, commands_of

RUN_HERE = (
    "q2a doctor",
    "q2a show",
    "q2a plan",
    "q2a plan --profile demo",
    "q2a plan --profile gpu",
    "q2a plan --profile gpu-lora",
    "q2a plan --profile gpu-full",
    "q2a plan --profile cluster",
    "q2a ingest --list",
    "q2a ingest --list --json",
    "q2a data look data/manifest.jsonl",
    "q2a data look data/manifest.jsonl --json",
)
"""Cheap ones: they end with 0 here. Plans for GPUs need none: nothing runs."""

_DRILLS = "tests/flows/test_drills.py"
_LOCKS = "tests/infra/test_ledger_locks.py"
_OWN_JOB = "tests/docs/test_own_job.py"
_GENERATED = "tests/docs/test_generated.py"
PARSED = {
    # Work for minutes or hours, or servers: their names and values are checked here.
    "q2a run --set pretrain.optimizer.steps=3000": _DRILLS,
    "q2a run --until sft": _DRILLS,
    "q2a run --profile finetune --data mine.jsonl --from CHECKPOINT": _OWN_JOB,
    "q2a run --profile finetune-lora --data mine.jsonl --from CHECKPOINT": _OWN_JOB,
    "q2a run --profile align --data pairs.jsonl --from CHECKPOINT": _OWN_JOB,
    "q2a run --profile evaluate-only --data mine.jsonl --from CHECKPOINT": _OWN_JOB,
    "q2a run --profile mine.yaml --data mine.jsonl": _OWN_JOB,
    "q2a resume RUN": _DRILLS,
    "q2a data export latest swift-rows --form ms-swift": "tests/tasks/corpus/test_export.py",
    "q2a ingest --data mine.jsonl": _OWN_JOB,
    "q2a ingest --data recordings": "tests/tasks/sources/test_folder_source.py",
    "q2a ingest --data librispeech:train-clean-100,dev-clean,test-clean=/data/LibriSpeech "
    "--data esc50=/data/ESC-50 --data fleurs:fr_fr/test=/data/fleurs/data": (
        "tests/tasks/sources/corpora/test_corpora.py"
    ),
    "q2a serve --profile mine.yaml --set 'schedule.cron=0 2 * * *'": _DRILLS,
    "q2a serve --profile demo --set 'schedule.cron=0 2 * * *'": _DRILLS,
    "q2a ui": _DRILLS,
    "q2a adopt /data/moved/store": "tests/infra/test_adoption.py",
    "q2a plan --profile mine.yaml": "tests/docs/test_examples.py",
    "cp examples/own_recordings.yaml mine.yaml": "tests/docs/test_examples.py",
    "export PREFECT_API_URL=http://127.0.0.1:4200/api": _DRILLS,
    "mkdir -p /data/q2a && chgrp team /data/q2a && chmod g+rwxs /data/q2a": _LOCKS,
    "export Q2A_STORE=/data/q2a": _LOCKS,
    "make setup": ".ci/run",
    "make lint": ".ci/run",
    "make test": ".ci/run",
    "make docs": ".github/workflows/ci.yml",
    "make tools": ".ci/run",
    "make resolve": "tests/packaging/test_pins.py",
    "make demo": "tests/flows/test_demo.py",
    "make pretrained": "tests/flows/test_demo_pretrained.py",
    "make demo-pretrained": "tests/flows/test_demo_pretrained.py",
    "make drill": _DRILLS,
    "make bench": "tests/benchmarks/test_harness.py",
    "q2a config --markdown > docs/configuration.md": _GENERATED,
    "python -m benchmarks.page > docs/benchmarks.md": _GENERATED,
    "python -m benchmarks mel seek": "tests/benchmarks/test_harness.py",
    "python -m benchmarks ingest-million": "tests/benchmarks/test_harness.py",
    "python -m benchmarks.gpu": "tests/benchmarks/test_gpu_script.py",
    "pytest -m drill -s tests/tasks/hygiene/test_audio_matches.py": _DRILLS,
}
"""All others, with the file that runs what they run; those of a cluster or a GPU run nowhere."""

EXAMPLES = {"mine.yaml": "examples/own_recordings.yaml"}
"""Profiles that the documents copy, by the name that they get."""


def plain(command: str) -> str:
    """One spelling of a command, whatever its quotes."""
    return shlex.join(shlex.split(command))


COMMANDS = all_commands()
CHECKED = {plain(command) for command in (*RUN_HERE, *PARSED)}


def test_commands_are_found_with_their_continuations_and_without_comments() -> None:
    text = (
        "```bash\n$ .venv/bin/q2a run \\\n  --until sft   # stop\n# alone\n```\n"
        "```python\nq2a no\n```\n1. a list\n\n   ```console\n   make test\n   ```\n"
    )
    assert list(commands_of(text)) == [("q2a", "run", "--until", "sft"), ("make", "test")]


def test_every_command_is_in_one_table() -> None:
    unknown = {command: page.name for command, page in COMMANDS.items() if command not in CHECKED}
    assert unknown == {}, "add them to RUN_HERE, or to PARSED with the test that runs them"


def test_no_table_has_a_command_that_no_document_has() -> None:
    assert CHECKED - COMMANDS.keys() == set()


def test_what_runs_the_others_is_there() -> None:
    assert [path for path in PARSED.values() if not (ROOT / path).is_file()] == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world for all commands, so that tracking is set up once."""
    return tmp_path_factory.mktemp("home")


def ends_with(monkeypatch: pytest.MonkeyPatch, home: Path, command: str) -> object:
    """Run a command in this process and return its exit code."""
    monkeypatch.setenv("Q2A_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("Q2A_STORE", "Q2A_TRACKING_URI", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize("command", RUN_HERE)
def test_cheap_commands_end_well(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ends_with(monkeypatch, home, command)
    screen = capsys.readouterr()
    # A full disk is this machine's fault, and doctor's to tell.
    bad = [line for line in screen.out.splitlines() if line.startswith("bad")]
    assert all("disk" in line for line in bad), screen.out
    assert code == int(bool(bad)), screen.err
    if command.endswith("--json"):
        json.loads(screen.out)
    else:
        assert screen.out.strip()


def test_commands_and_targets_in_sentences_exist(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    commands = set(re.findall(r"`q2a ([a-z]+)", text))
    assert ends_with(monkeypatch, home, "q2a --help") == 0
    assert commands <= set(re.findall(r"[a-z]+", capsys.readouterr().out))
    targets = set(re.findall(r"`make ([a-z-]+)", text))
    makefile = (ROOT / "Makefile").read_text()
    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


Q2A_PARSED = [command for command in PARSED if command.startswith("q2a ")]


def name_of(command: str) -> str:
    """Name of a command, of two words in a group of commands."""
    words = command.split()
    return " ".join(words[1 : 3 if words[1] == "data" else 2])


@pytest.mark.parametrize("name", sorted({name_of(command) for command in Q2A_PARSED}))
def test_options_of_the_other_commands_exist(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_with(monkeypatch, home, f"q2a {name} --help") == 0
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    used = {
        word
        for command in Q2A_PARSED
        if name_of(command) == name
        for word in shlex.split(command)
        if word.startswith("--")
    }
    assert used <= known


@pytest.mark.parametrize("command", Q2A_PARSED)
def test_values_of_the_other_commands_are_valid(command: str) -> None:
    words = shlex.split(command)
    given: dict[str, list[str]] = {"--profile": [], "--set": [], "--data": [], "--until": []}
    for option, value in pairwise(words):
        given.get(option, []).append(value)
    (profile,) = given["--profile"] or ["demo"]
    if profile in EXAMPLES:
        profile = str(ROOT / EXAMPLES[profile])
    config = load_config(profile, given["--set"])
    assert all(stage in type(config).model_fields for stage in given["--until"])
    for corpus in (text for text in given["--data"] if "=" in text):
        name, _, root = corpus.partition("=")
        name, _, splits = name.partition(":")
        CorpusSource(name=name, root=root, splits=tuple(splits.split(",")) if splits else ())


@pytest.mark.parametrize("command", [c for c in PARSED if not c.startswith("q2a ")])
def test_targets_modules_and_files_of_the_other_commands_exist(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[:2] == ["python", "-m"]:
        assert find_spec(words[2]) is not None
        if words[2] == "benchmarks":
            assert set(words[3:]) <= {*BENCHMARKS, *ON_REQUEST}
    elif words[0] == "cp":
        assert (ROOT / words[1]).is_file()
        assert (ROOT / words[2]).parent.is_dir()
    elif words[0] == "pytest":
        assert (ROOT / words[-1]).is_file()
    else:  # the shell's own, which need nothing of ours
        assert words[0] in ("export", "mkdir")
