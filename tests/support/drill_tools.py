"""What drills share: processes that run the pipeline, servers, what a run left, the report."""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from flows.config import load_config
from flows.pipeline import STAGES
from flows.runners import open_tracking
from infra.reaper import marked_processes
from infra.settings import Settings
from infra.storage.store import Store
from tests.support.tiny_run import DRIVER, Driver, Hold, TinyRun, history_numbers

BINARIES = Path(sys.executable).parent
Q2A = str(BINARIES / "q2a")
NAMES = [stage.name for stage in STAGES]
WEIGHTS = "checkpoint/model.safetensors"
END_SECONDS = 15
"""Longest time that a command and what it started may take to end."""
EXECUTE = ["-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"]
"""Goes before a command that is not Python, to be started as a driver."""


def options(overrides: tuple[str, ...]) -> list[str]:
    return ["-p", "tiny", *(part for override in overrides for part in ("-s", override))]


def wait_until(reached: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def settings_of(home: Path, **more: str) -> Settings:
    return Settings(home=home, store=more.get("store", ""), tracking_uri="")


def environment_of(home: Path) -> dict[str, str]:
    return {
        "Q2A_HOME": str(home),
        "Q2A_STORE": "",
        "Q2A_TRACKING_URI": "",
        "PREFECT_HOME": str(home / "prefect"),
    }


def result_of(settings: Settings, overrides: tuple[str, ...]) -> TinyRun:
    """What another process made: its newest pipeline run, with artifacts found by their plan."""
    from flows.execution import StageOutcome
    from flows.pipeline import pipeline
    from flows.plan import Planner
    from flows.runners import open_ledger

    config = load_config("tiny", overrides)
    ledger = open_ledger(settings)
    planner = Planner(ledger)
    pipeline(config, planner)
    newest = open_tracking(settings).pipelines()[0]
    outcomes = []
    for planned in planner.planned:
        record = ledger.find(planned.stage, planned.fingerprint)
        if record is not None:
            hit = f"q2a.hit.{planned.stage}" in newest.data.tags
            outcomes.append(StageOutcome(planned.stage, hit, record.seconds, record))
    return TinyRun(settings, config, newest.info.run_id, tuple(outcomes), ())


def mark_of(driver: Driver) -> str:
    """The mark that a driver's processes carry; its reaper has it as last argument."""
    for child in psutil.Process(driver.process.pid).children():
        if "reaper.py" in " ".join(child.cmdline()):
            return str(child.cmdline()[-1])
    raise AssertionError("the driver has no reaper")


def wait_until_nothing_is_left(mark: str, began: float, seconds: float = END_SECONDS) -> float:
    """Wait for the end of all processes of a driver; returns how long it took since `began`."""
    while left := marked_processes(mark):
        names = [psutil.Process(pid).cmdline() for pid, _ in left if psutil.pid_exists(pid)]
        assert time.monotonic() < began + seconds, f"still running: {names}"
        time.sleep(0.1)
    return time.monotonic() - began


def train_workers(driver: Driver) -> list[psutil.Process]:
    """The processes of a training group that a driver's own Ray runs."""
    found = []
    for process in psutil.Process(driver.process.pid).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def pretrained(home: Path) -> Store:
    """The folder of a home's one pre-training."""
    (found,) = home.glob("store/pretrain/*")
    return Store(str(found))


@dataclass
class DrillReport:
    """What the table of drills shows; `conftest.py` prints it when the tests have ended."""

    rows: list[tuple[str, str, float, str]] = field(default_factory=list)

    def add(self, drill: str, happened: str, seconds_lost: float, log: str, said: str) -> None:
        """Take a drill that has passed; the line of `log` that holds `said` is what it shows."""
        lines = [line.strip() for line in log.splitlines() if said in line]
        assert lines, f"nothing in the log says {said!r}:\n{log}"
        self.rows.append((drill, happened, seconds_lost, lines[0][:240].replace("|", "/")))

    def table(self) -> str:
        """In Markdown."""
        head = "| drill | what happened | time lost | the log says |\n|---|---|---|---|"
        rows = (f"| {d} | {w} | {s:.1f} s | `{line}` |" for d, w, s, line in self.rows)
        return "\n".join([head, *rows])


@dataclass(frozen=True)
class Drill:
    """A run that something befalls, and the undisturbed one that it must equal."""

    folder: Path
    drive: Callable[..., Driver]
    undisturbed: TinyRun
    overrides: tuple[str, ...]
    """Of the undisturbed run."""
    report: DrillReport

    @property
    def home(self) -> Path:
        """Where the run lives."""
        return self.folder / "home"

    @property
    def hold(self) -> Hold:
        """For a run that is to be disturbed in the middle of pre-training."""
        return Hold("pretrain", self.folder / "held")

    def start(self, *command: str, home: Path | None = None, **environment: str) -> Driver:
        """Start a command in its home, or in another one."""
        return self.drive([*command], environment_of(home or self.home) | environment)

    def assert_pretrained_as_undisturbed(self) -> None:
        """The same weights and numbers, bit by bit."""
        undisturbed, found = self.undisturbed.artifact("pretrain"), pretrained(self.home)
        assert found.digest(WEIGHTS) == undisturbed.digest(WEIGHTS)
        assert history_numbers(found) == history_numbers(undisturbed)

    def assert_pretrained_nearly_as_undisturbed(self) -> None:
        """The same losses at the same steps, up to the order of sums."""
        alone, found = map(
            history_numbers, (self.undisturbed.artifact("pretrain"), pretrained(self.home))
        )
        assert [entry["step"] for entry in found] == [entry["step"] for entry in alone]
        assert [entry["loss"] for entry in found] == pytest.approx(
            [entry["loss"] for entry in alone], rel=1e-5, abs=0
        )


UNTIL_PRETRAIN = DRIVER.replace("run_here(opened, config)", "run_here(opened, config, 'pretrain')")
"""A driver that does not go on after pre-training."""


def seconds_of(home: Path, stage: str = "pretrain") -> float:
    """How long a home's one artifact of a stage took, the time of a first attempt not included."""
    (record,) = home.glob(f"store/{stage}/*/record.json")
    seconds: float = json.loads(record.read_text())["seconds"]
    return seconds


def answers(url: str) -> bool:
    """Whether a server is up."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def start_server(
    command: list[str],
    environment: Mapping[str, str],
    health: str,
    drive: Callable[..., Driver],
) -> Driver:
    """Start a server as a process of its own, and wait until it answers."""
    driver = drive(command, environment)

    def healthy() -> bool:
        assert driver.process.poll() is None, driver.log.read_text()
        return answers(health)

    wait_until(healthy, 600, f"{health} answers")
    return driver


def start_prefect_server(home: Path, port: int, drive: Callable[..., Driver]) -> tuple[Driver, str]:
    """A real Prefect server with its database in `home`, and its API's address."""
    home.mkdir(exist_ok=True)
    address = f"http://127.0.0.1:{port}/api"
    command = [
        str(BINARIES / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = environment_of(home) | {"PREFECT_API_URL": address}
    return start_server(command, environment, f"{address}/health", drive), address


def start_mlflow_server(home: Path, port: int, drive: Callable[..., Driver]) -> tuple[Driver, str]:
    """A real MLflow server with its database and artifacts in `home`, and its address."""
    home.mkdir(exist_ok=True)
    address = f"http://127.0.0.1:{port}"
    command = [
        "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{home}/mlflow.db",
        "--artifacts-destination", str(home / "artifacts"),
    ]  # fmt: skip
    return start_server(command, environment_of(home), f"{address}/health", drive), address


def kill_whole(driver: Driver) -> None:
    """SIGKILL a process and all that it started."""
    os.killpg(driver.process.pid, signal.SIGKILL)
    driver.process.wait(60)
