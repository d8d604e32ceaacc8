"""The wheel holds the product, all of it and nothing else, and works away from the checkout."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from flows.pipeline import STAGES
from tests.support.tiny_run import OVERRIDES
from tests.support.wheel import ROOT, Installation, build_wheel

PACKAGES = ("data_contracts", "flows", "infra", "model", "tasks")
SUFFIXES = {".py", ".yaml", ".html", ".css", ".txt"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["borrowed", pytest.param("own", marks=pytest.mark.drill)])
def installed(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Installation:
    """The wheel in a new environment, with the dependencies of the running one or with its own."""
    installation = Installation.create(tmp_path_factory.mktemp("installed"))
    if request.param == "own":
        installation.pip("install", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
    else:
        installation.pip("install", "--no-deps", str(wheel))
        installation.borrow_dependencies()
    return installation


@pytest.fixture(scope="module")
def options(installed: Installation, small_manifest: Path) -> list[str]:
    """A tiny run over recordings in a folder of the user's own."""
    folder = installed.work / "recordings"
    folder.mkdir()
    rows = [json.loads(line) for line in small_manifest.read_text().splitlines()]
    for row in rows:
        audio = Path(row["audio"])
        shutil.copy(audio, folder)
        row["audio"] = audio.name
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = ("data.manifest=recordings/manifest.jsonl", *OVERRIDES)
    return ["--profile", "tiny", *(part for value in overrides for part in ("--set", value))]


def test_the_wheel_holds_every_file_of_the_product_and_no_other(wheel: Path) -> None:
    product = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert set(held) == product
    assert {Path(name).suffix for name in product} <= SUFFIXES


def test_an_installed_wheel_imports_none_of_the_checkout(installed: Installation) -> None:
    lines = (f"import {name}; print({name}.__file__)" for name in PACKAGES)
    for path in installed.run("python", "-c", "\n".join(lines)).splitlines():
        assert Path(path).is_relative_to(installed.environment)
    probe = "import sys; print('\\n'.join(sys.path))"
    assert str(ROOT) not in installed.run("python", "-c", probe).splitlines()


def test_the_installed_command_tells_the_version_of_the_wheel(
    installed: Installation, wheel: Path
) -> None:
    assert wheel.name.split("-")[1] in installed.run("q2a", "--version")


def test_the_installed_command_finds_nothing_wrong_with_its_machine(
    installed: Installation,
) -> None:
    assert "good audio decoders" in installed.run("q2a", "doctor")


def test_the_installed_command_plans_the_whole_pipeline(
    installed: Installation, options: list[str]
) -> None:
    planned = json.loads(installed.run("q2a", "plan", *options, "--json"))
    assert {stage["stage"]: stage["state"] for stage in planned} == {s.name: "miss" for s in STAGES}
    assert not installed.records()


@pytest.mark.drill
def test_the_installed_command_runs_the_whole_pipeline(
    installed: Installation, options: list[str]
) -> None:
    installed.run("q2a", "run", *options)
    assert installed.records() == {stage.name for stage in STAGES}
