"""Help and version are there at once."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.command import q2a

COMMANDS = (
    "plan", "run", "resume", "ingest", "data", "convert", "show", "config", "serve", "ui", "doctor",
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)]
)
def test_help_and_version_load_no_library_of_the_work_and_leave_nothing_behind(
    arguments: list[str], tmp_path: Path
) -> None:
    script = """
import resource, sys
from flows.main import main
heavy = {"torch", "ray", "mlflow", "prefect", "great_expectations", "transformers"}
try:
    main()
finally:
    assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"CPU seconds: {used.ru_utime + used.ru_stime:.2f}", file=sys.stderr)
"""
    root = Path(__file__).parents[3]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root)}
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    print(f"q2a {' '.join(arguments)}: {ended.stderr.strip()}")
    assert ended.stdout.strip()
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_the_package_s(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"q2a {version('q2a')}\n"


def test_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch, "--help") == 0
    screen = capsys.readouterr().out
    for name in COMMANDS:
        assert f" {name} " in screen


def test_no_command_shows_the_help_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch) == 2
    screen = capsys.readouterr()
    assert "resume" in screen.out
    assert screen.err == ""


def test_config_names_profiles_and_stages_before_the_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch, "config") == 0
    profiles, stages, *_ = capsys.readouterr().out.splitlines()
    assert profiles.startswith("Profiles: align, cluster, demo,")
    assert stages == "Stages: ingest, start, pretrain, sft, collect_preferences, dpo, evaluate"
