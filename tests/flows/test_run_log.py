"""Every run leaves a log: its progress, warnings of libraries, the traceback of its failure."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.run_log import keep_traceback, logged, run_log
from infra.tracking import RunLogger


class Run:
    """Takes what MLflow would get."""

    run_id = "run1"

    def __init__(self) -> None:
        self.tagged: dict[str, str] = {}
        self.files: dict[str, str] = {}

    def tags(self, values: dict[str, str]) -> None:
        self.tagged |= values

    def text(self, content: str, file: str) -> None:
        self.files[file] = content


@pytest.fixture
def run() -> Run:
    return Run()


@contextmanager
def log_of(home: Path, run: Run) -> Iterator[Path]:
    logger: RunLogger = run  # type: ignore[assignment]
    with run_log(home, logger):
        yield home / "logs" / "run1.log"


def fail_inside(value: str) -> None:
    raise KeyError(value)


def test_progress_and_warnings_are_written_with_time_and_kept_in_mlflow(
    tmp_path: Path, run: Run
) -> None:
    printed: list[str] = []
    progress = logged(printed.append)
    with log_of(tmp_path, run) as path:
        progress("pretrain: step 3")
        logging.getLogger("some.library").warning("the disk is slow")
        logging.getLogger("some.library").info("nothing to see")
        assert run.tagged == {"q2a.log": str(path)}
    logging.getLogger("some.library").warning("after the end")
    lines = path.read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "INFO q2a: pretrain: step 3",
        "WARNING some.library: the disk is slow",
    ]
    assert printed == ["pretrain: step 3"]
    assert run.files == {"q2a.log": path.read_text()}


def test_a_failure_leaves_its_traceback_with_every_cause_and_says_where(
    tmp_path: Path, run: Run
) -> None:
    with pytest.raises(RuntimeError) as caught, log_of(tmp_path, run) as path:  # noqa: PT012
        try:
            fail_inside("x")
        except KeyError as error:
            raise RuntimeError("the worker failed") from error
    assert caught.value.__notes__ == [f"traceback: {path}"]
    log = path.read_text()
    for part in (
        "in fail_inside",
        "KeyError: 'x'",
        "direct cause",
        "RuntimeError: the worker fail",
    ):
        assert part in log
    assert run.files["q2a.log"] == log


def test_a_stop_says_how_to_go_on(tmp_path: Path, run: Run) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, log_of(tmp_path, run):
        raise KeyboardInterrupt
    assert caught.value.__notes__ == ["`q2a resume run1` continues"]


def test_a_resumed_run_goes_on_with_the_same_file(tmp_path: Path, run: Run) -> None:
    for line in ("first", "second"):
        with log_of(tmp_path, run) as path:
            logging.getLogger("q2a").info(line)
    assert [line.rpartition(" ")[2] for line in path.read_text().splitlines()] == [
        "first",
        "second",
    ]


def test_a_log_that_mlflow_does_not_take_costs_no_run(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(content: str, file: str) -> None:
        raise OSError("MLflow is away")

    monkeypatch.setattr(run, "text", refuse)
    with log_of(tmp_path, run) as path:
        logging.getLogger("q2a").info("done")
    assert "done" in path.read_text()


def test_an_error_before_a_run_has_an_id_gets_a_file_of_its_own_and_one_with_a_log_does_not(
    tmp_path: Path,
) -> None:
    errors = []
    for _ in range(2):
        with pytest.raises(KeyError) as failure:
            fail_inside("y")
        errors.append(failure.value)
    errors[1].add_note("traceback: elsewhere")
    keep_traceback(tmp_path, errors[0])
    keep_traceback(tmp_path, errors[1])
    (path,) = (tmp_path / "logs").iterdir()
    assert path.name.startswith("q2a-")
    assert "in fail_inside" in path.read_text()
    assert errors[0].__notes__ == [f"traceback: {path}"]
    assert errors[1].__notes__ == ["traceback: elsewhere"]


def test_an_error_that_can_not_be_written_is_still_an_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    error = KeyError("z")
    keep_traceback(tmp_path, error)
    assert not hasattr(error, "__notes__")
