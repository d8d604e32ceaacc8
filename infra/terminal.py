"""Output on a terminal or into a file of any encoding."""

import io
import os
import sys

_ERRORS = "backslashreplace"


def print_any_text() -> None:
    r"""Print characters that the output's encoding lacks as escapes, `\u2191` for an arrow.

    Without it, a run that took days would end in an error at the table of its scores. The processes
    that this one starts do the same.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)
    encoding = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    os.environ["PYTHONIOENCODING"] = f"{encoding}:{_ERRORS}"
