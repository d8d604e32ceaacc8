"""The wheel of this checkout, and environments that have it without the checkout."""

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NOT_SOURCE = shutil.ignore_patterns(
    ".*", "runs", "build", "dist", "*.egg-info", "__pycache__", "audio"
)


@dataclass(frozen=True)
class Installation:
    """A virtual environment in `folder`, used from an empty working directory of its own."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Installation":
        """Make a bare environment of the running Python."""
        venv.create(folder / "environment", symlinks=True)
        (folder / "work").mkdir()
        return cls(folder)

    @property
    def work(self) -> Path:
        """Where its commands run."""
        return self.folder / "work"

    @property
    def environment(self) -> Path:
        """The environment's prefix."""
        return self.folder / "environment"

    @property
    def home(self) -> Path:
        """Where its commands keep what they make."""
        return self.folder / "home"

    def pip(self, *arguments: str) -> None:
        """Install into it with the pip of the running environment."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        python = self.environment / "bin/python"
        subprocess.run([*pip, "--python", str(python), *arguments], check=True)

    def borrow_dependencies(self) -> None:
        """Let it import what is installed beside the running Python.

        A folder that a .pth file names is searched after the environment's own packages, and .pth
        files in it, such as that of an editable install, are not read.
        """
        (packages,) = self.environment.glob("lib/python*/site-packages")
        borrowed = {path for path in sys.path if Path(path).name == "site-packages"}
        (packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(borrowed)))

    def run(self, command: str, *arguments: str) -> str:
        """Run one of its commands, which must end with 0, and return what it printed."""
        ended = subprocess.run(
            [str(self.environment / "bin" / command), *arguments],
            cwd=self.work,
            env=_outside_of_the_checkout(self.home),
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, f"{command} {arguments}:\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def records(self) -> set[str]:
        """Names of the stages that its runs have finished."""
        records = self.home.glob("store/*/*/record.json")
        return {path.parts[-3] for path in records}


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout from a copy, without what earlier builds left there."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=_NOT_SOURCE)
    # The environment has the build backend (extra dev), so that no index is asked.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", str(source), *options], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _outside_of_the_checkout(home: Path) -> dict[str, str]:
    """The environment variables of a user who has never seen the checkout."""
    foreign = ("PYTHON", "VIRTUAL_ENV", "Q2A_", "PREFECT_", "MLFLOW_", "RAY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"Q2A_HOME": str(home)}
