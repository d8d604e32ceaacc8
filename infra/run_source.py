"""Tags that tell in MLflow who started a run and with which code."""

import getpass
import subprocess
from functools import cache
from pathlib import Path

from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

_GIT_SECONDS = 10.0
"""Longest wait for git: a repository on a file system that hangs must not hold a run."""


def source_tags() -> dict[str, str]:
    """Return the tags that MLflow's own `start_run` would set: source, user, and the git commit
    where this package runs from a checkout."""
    tags = {MLFLOW_SOURCE_NAME: "q2a", MLFLOW_SOURCE_TYPE: "LOCAL", MLFLOW_USER: _user()}
    commit = git_commit(Path(__file__))
    return tags | ({MLFLOW_GIT_COMMIT: commit} if commit else {})


@cache
def git_commit(file: Path) -> str | None:
    """Return the commit that is checked out where `file` lies, if git keeps that file.

    A package that is installed into an environment inside another repository is none of its files.
    """
    if _git(file, "ls-files", "--error-unmatch", file.name) is None:
        return None
    return _git(file, "rev-parse", "HEAD")


def _git(file: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(file.parent), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an id without a name, as in some containers
        return "unknown"
