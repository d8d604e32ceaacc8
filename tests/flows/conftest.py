"""The tiny pipeline, run once a session in this process, for all tests that look at its result."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from flows.config import load_config
from infra.settings import Settings
from infra.storage.store import Store
from tests.support.drill_tools import Drill, DrillReport
from tests.support.repeated_pretraining import World
from tests.support.tiny_run import OVERRIDES, Driver, TinyRun, run_tiny
from tests.support.workshop import Workshop

REPORT = pytest.StashKey[DrillReport]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The table of drills, as the README has it."""
    report = config.stash.get(REPORT, None)
    if report is not None:
        terminalreporter.section("drills")
        terminalreporter.write_line(report.table())


@pytest.fixture(scope="session")
def drill_report(pytestconfig: pytest.Config) -> DrillReport:
    """Where drills that have passed tell what happened."""
    return pytestconfig.stash.setdefault(REPORT, DrillReport())


@pytest.fixture(scope="session")
def tiny_overrides(small_manifest: Path) -> tuple[str, ...]:
    """What makes the profile `tiny` the configuration of `tiny_run`."""
    return (f"data.manifest={small_manifest}", *OVERRIDES)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_overrides: tuple[str, ...]) -> TinyRun:
    """One uninterrupted run of the profile `tiny` on the small manifest."""
    settings = Settings(home=tmp_path_factory.mktemp("tiny"), store="", tracking_uri="")
    return run_tiny(settings, load_config("tiny", tiny_overrides))


@pytest.fixture
def world(tmp_path: Path, tiny_run: TinyRun) -> World:
    """The pre-training of `tiny_run`, to be made again elsewhere under a fault."""
    assert tiny_run.config.pretrain
    return World(
        directory=Store(str(tmp_path / "artifact")),
        inputs={"corpus": tiny_run.artifact("ingest"), "checkpoint": tiny_run.artifact("start")},
        recipe=tiny_run.config.pretrain,
        scratch=tmp_path / "scratch",
    )


@pytest.fixture(scope="session")
def only_workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One MLflow database for all tests of executions: making one takes five seconds."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def shop(only_workshop: Workshop) -> Workshop:
    """A workshop in which nothing has happened yet."""
    only_workshop.events.clear()
    only_workshop.failure = lambda: None
    return only_workshop


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Start a Python process in a session of its own: `drive(arguments, environment)`."""
    started: list[Driver] = []

    def start(arguments: list[str], environment: Mapping[str, str]) -> Driver:
        log = tmp_path / f"driver-{len(started)}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
                # Tests in the background of a shell ignore SIGINT, and so would their children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                text=True,
            )
        started.append(Driver(process, log))
        return started[-1]

    yield start
    # Each driver leads a process group: what it started and could not end itself ends here.
    for driver in reversed(started):
        if driver.process.poll() is None:
            driver.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.process.pid, signal.SIGKILL)
        driver.process.wait()


@pytest.fixture
def drill(
    tmp_path: Path,
    drive: Callable[..., Driver],
    tiny_run: TinyRun,
    tiny_overrides: tuple[str, ...],
    drill_report: DrillReport,
) -> Drill:
    """A run in a home of its own, to be disturbed and compared with `tiny_run`."""
    return Drill(tmp_path, drive, tiny_run, tiny_overrides, drill_report)
