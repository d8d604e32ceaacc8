"""Entry point of the command `q2a`."""

import sys

from flows.commands.app import run_command
from infra.terminal import print_any_text


def main() -> None:
    """Run the command line and end with its exit code."""
    print_any_text()
    sys.exit(run_command())
