"""Entry point of the command `q2a`."""

import sys

from flows.commands.app import run_command


def main() -> None:
    """Run the command line and end with its exit code."""
    sys.exit(run_command())
