"""The command line, called in this process."""

import sys

import pytest

from flows.commands import app


def q2a(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["q2a", *arguments])
    return app.run_command()
