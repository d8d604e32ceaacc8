"""The log file of a run: its progress, warnings of libraries, the traceback of its failure."""

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from infra.tracking import LOG_TAG, RunLogger

_log = logging.getLogger("q2a")
_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
_IN_MLFLOW = "q2a.log"


class _LogFile(logging.FileHandler):
    """Appends to a file what the loggers of this process write."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(_FORMAT)
        # Prefect's logger of the flow repeats our progress.
        self.addFilter(lambda record: not getattr(record, "q2a_progress", False))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave the line out: a full disk costs the log, not the run."""


def print_line(text: str) -> None:
    """Print a line of progress with the time, at once."""
    print(f"{datetime.now():%H:%M:%S} {text}", flush=True)


def logged(progress: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that reports a line of progress and writes it to the log file too."""

    def report(text: str) -> None:
        _log.info(text)
        progress(text)

    return report


@contextmanager
def run_log(home: Path, parent: RunLogger) -> Iterator[None]:
    """Write the log file of a run while the context is open, and link it in the run in MLflow.

    An error that leaves the context is written with its traceback, and gets a note that tells
    people where; one that only stops the run gets a note on how to go on.
    """
    path = home / "logs" / f"{parent.run_id}.log"
    file, root = _LogFile(path), logging.getLogger()
    parent.tags({LOG_TAG: str(path)})
    _log.setLevel(logging.INFO)
    root.addHandler(file)
    try:
        yield
    except Exception as error:
        _log.error("the run failed", exc_info=error)
        error.add_note(f"traceback: {path}")
        raise
    except BaseException as error:
        _log.warning("the run was stopped", exc_info=error)
        error.add_note(f"`q2a resume {parent.run_id}` continues")
        raise
    finally:
        root.removeHandler(file)
        file.close()
        try:
            parent.text(path.read_text(encoding="utf-8"), _IN_MLFLOW)
        except Exception as error:
            _log.warning("the log %s is not in MLflow: %s", path, error)


def keep_traceback(home: Path, error: BaseException) -> None:
    """Write the traceback of an error that no run has in its log, and note on it where."""
    if getattr(error, "__notes__", None):
        return
    path = home / "logs" / f"q2a-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return  # the error itself is told all the same
    error.add_note(f"traceback: {path}")
