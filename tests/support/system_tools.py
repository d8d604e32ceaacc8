"""Programs of the system that some tests use; `make tools` installs them."""

import shutil

import pytest


def needs_program(name: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, and say how to get it."""
    missing = shutil.which(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed: `make tools` installs it")
