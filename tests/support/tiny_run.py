"""A tiny run of the pipeline and what can be asked of it; processes that run one."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient

from flows.config import PipelineConfig
from flows.execution import Session, StageOutcome
from flows.runners import open_ledger, open_tracking, run_here, session
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage.store import Store
from infra.tracking import Tracking
from tasks.training.fit import FINAL_STATE

OVERRIDES = (
    # Enough steps to be killed in the middle of (held.py); logs and states fall on different steps.
    "pretrain.optimizer.steps=30",
    "resources.checkpoint_every_steps=2",
    "resources.log_every_steps=3",
)


DRIVER = """
import sys
from infra.settings import read_settings
settings = read_settings()
from flows.config import load_config
from flows.runners import run_here, session
config = load_config("tiny", sys.argv[1:])
with session(config, settings, print) as opened:
    run_here(opened, config)
"""
TIMES = (
    "tokens_per_second", "audio_seconds_per_second", "teraflops_per_second", "share_of_peak",
    "data_wait_share",
)  # fmt: skip


@dataclass(frozen=True)
class TinyRun:
    """A finished run and the world that it left."""

    settings: Settings
    config: PipelineConfig
    run_id: str
    outcomes: tuple[StageOutcome, ...]
    messages: tuple[str, ...]

    @property
    def tracking(self) -> Tracking:
        return open_tracking(self.settings)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.settings.resolved_tracking_uri)

    @property
    def ledger(self) -> Ledger:
        return open_ledger(self.settings)

    @property
    def states(self) -> dict[str, str]:
        """Stage -> "hit" or "run"."""
        return {outcome.stage: "hit" if outcome.hit else "run" for outcome in self.outcomes}

    def seconds(self, stage: str) -> float:
        """How long a stage took."""
        (found,) = [o.record.seconds for o in self.outcomes if o.stage == stage]
        return found

    def artifact(self, stage: str) -> Store:
        """The folder of a stage's artifact."""
        (outcome,) = [o for o in self.outcomes if o.stage == stage]
        return self.ledger.directory(stage, outcome.record.fingerprint)


def run_tiny(settings: Settings, config: PipelineConfig, run_id: str | None = None) -> TinyRun:
    """Run, or continue, the pipeline in this process."""
    messages: list[str] = []
    parent = open_tracking(settings).reopen_pipeline(run_id)[0] if run_id else None
    settings.home.mkdir(parents=True, exist_ok=True)
    opened: Session
    with session(config, settings, messages.append, parent) as opened:
        run_here(opened, config)
    return TinyRun(settings, config, opened.parent.run_id, tuple(opened.outcomes), tuple(messages))


@dataclass(frozen=True)
class Hold:
    """A process that `held.py` holds in the middle of a stage."""

    place: Literal["ingest", "pretrain"]
    folder: Path

    @property
    def prefix(self) -> list[str]:
        """Goes before what Python is to run."""
        return [str(Path(__file__).with_name("held_run.py")), self.place, str(self.folder)]

    def reached(self, num_workers: int = 1) -> bool:
        """Whether all workers stand there."""
        return len(list(self.folder.glob("reached-*"))) == num_workers

    def let_go(self) -> None:
        """Now, and whoever comes later."""
        (self.folder / "go-on").touch()


@dataclass
class Driver:
    """A process of its own that runs something of the pipeline."""

    process: subprocess.Popen[str]
    log: Path

    def wait_until(self, reached: Callable[[], bool], seconds: float = 600) -> None:
        """Watch until a point is reached; the process must live until then."""
        end = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, f"ended too early:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"never got there:\n{self.log.read_text()}"
            time.sleep(0.005)

    def kill_9_when(self, reached: Callable[[], bool]) -> None:
        """SIGKILL the process as soon as a point is reached."""
        self.wait_until(reached)
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait(60) == -signal.SIGKILL, self.log.read_text()

    def finish(self, seconds: float = 900) -> str:
        """Wait for the end, which must be a good one; returns what it printed."""
        code = self.process.wait(seconds)
        assert code == 0, f"exit code {code}:\n{self.log.read_text()}"
        return self.log.read_text()


def training_states(home: Path) -> list[Path]:
    """The finished training states of pre-training that is under way."""
    return list(home.glob("store/pretrain/*/scratch/states/*/position.json"))


def numbers(run: TinyRun, stage: str) -> list[dict[str, float]]:
    """The training history of a stage without what a clock measured."""
    return history_numbers(run.artifact(stage))


def history_numbers(artifact: Store) -> list[dict[str, float]]:
    """The training history of an artifact without what a clock measured."""
    history = json.loads(artifact.read_text(f"{FINAL_STATE}/history.json"))
    return [
        {name: value for name, value in entry["metrics"].items() if name not in TIMES}
        | {"step": entry["step"]}
        for entry in history
    ]
