"""Entry point of the command `q2a`: settles the environment, then imports everything else.

torch counts its threads, and MLflow, Prefect and transformers read their switches, when they are
imported; so the environment must be complete before.
"""

import sys

from infra.settings import read_settings


def main() -> None:
    """Run the command line; known errors become one clear message and an exit code."""
    read_settings()
    from flows.cli import run_command

    sys.exit(run_command())
