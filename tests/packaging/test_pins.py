"""Every pinned dependency can be installed under every Python that the package declares."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PREFIX = "Programming Language :: Python :: "
DECLARED = [c.removeprefix(PREFIX) for c in PROJECT["classifiers"] if c.startswith(PREFIX + "3.")]
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
UNCHECKED = (
    "torch",  # its CPU and GPU builds come from different indexes
    "deepspeed",  # has no wheel: pip builds it, under any Python
)


def test_exactly_the_declared_pythons_are_accepted() -> None:
    oldest, newest = DECLARED[0], int(DECLARED[-1].split(".")[1])
    assert [f"3.{minor}" for minor in range(11, newest + 1)] == DECLARED
    assert PROJECT["requires-python"] == f">={oldest},<3.{newest + 1}"


@pytest.mark.drill
@pytest.mark.parametrize("python", DECLARED)
def test_every_pin_has_a_wheel_for_every_declared_python(python: str, tmp_path: Path) -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    checked = [pin for pin in pins if pin.split("==")[0] not in UNCHECKED]
    assert len(checked) == len(pins) - len(UNCHECKED)
    (tmp_path / "pins.txt").write_text("\n".join(checked))
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    # Resolved for another Python than the running one; nothing is installed.
    resolved = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run"),
            *("--ignore-installed", "--no-deps", "--only-binary=:all:", "--target", str(tmp_path)),
            *("--implementation", "cp", "--python-version", python, *platforms),
            *("--requirement", str(tmp_path / "pins.txt")),
        ],
        capture_output=True,
        text=True,
    )
    assert resolved.returncode == 0, resolved.stderr[-2000:]
    (line,) = [line for line in resolved.stdout.splitlines() if line.startswith("Would install ")]
    assert len(line.split()) - 2 == len(checked)
