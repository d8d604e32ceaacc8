"""Runs that are killed again and again, and what they must have left in the end."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.file_lock import try_hold
from infra.reaper import marked_processes
from tests.support.drill_tools import (
    END_SECONDS,
    NAMES,
    environment_of,
    mark_of,
    result_of,
    settings_of,
    wait_until,
    wait_until_nothing_is_left,
)
from tests.support.interrupted_stages import contents
from tests.support.tiny_run import Driver, TinyRun


@dataclass
class Killed:
    """A home whose drivers are killed, with a folder of its own for temporary files."""

    home: Path
    temporary: Path
    """Its path is short, as those of Ray's sockets must be."""
    marks: list[str] = field(default_factory=list)
    """Marks of the drivers so far."""

    @property
    def environment(self) -> dict[str, str]:
        return environment_of(self.home) | {"TMPDIR": str(self.temporary)}

    def kill(self, driver: Driver, begun: Callable[[], bool], delay: float) -> bool:
        """SIGKILL a driver some seconds after a point; False where it had ended well by then."""
        driver.wait_until(begun)
        self.marks.append(mark_of(driver))
        with suppress(subprocess.TimeoutExpired):
            assert driver.process.wait(delay) == 0, driver.log.read_text()
            return False
        driver.process.kill()
        driver.process.wait(60)
        return True

    def kill_all(self, driver: Driver) -> None:
        """SIGKILL a driver and whatever it started at once, as the end of a container does."""
        driver.process.send_signal(signal.SIGSTOP)  # so it starts nothing else meanwhile
        processes = {driver.process.pid}
        children = psutil.Process(driver.process.pid).children()
        if children:  # its reaper is the first
            self.marks.append(mark_of(driver))
            processes |= {pid for pid, _ in marked_processes(self.marks[-1])}
            processes |= {child.pid for child in children}
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        driver.process.wait(60)

    def assert_nothing_runs(self) -> None:
        """Wait some seconds for the end of all that the drivers started."""
        began = time.monotonic()
        for mark in self.marks:
            # The next driver is at work meanwhile, which takes a processor away.
            wait_until_nothing_is_left(mark, began, 2 * END_SECONDS)

    def assert_finished_as(self, undisturbed: TinyRun, overrides: tuple[str, ...]) -> None:
        """Every artifact is the undisturbed one; nothing else is left of any driver."""
        self.assert_nothing_runs()
        run = result_of(settings_of(self.home), overrides)
        for name in NAMES:
            assert contents(run.artifact(name)) == contents(undisturbed.artifact(name)), name
        running = run.client.search_runs([run.tracking.experiment_id], "status = 'RUNNING'")
        assert [(each.info.run_id, each.info.run_name) for each in running] == []
        assert list(self.home.glob("scratch/*")) == []
        assert [path for path in self.home.rglob("*") if ".partial" in path.name] == []
        for folder in (path for path in self.home.rglob("*") if path.is_dir()):
            with try_hold(folder) as is_free:
                assert is_free, f"{folder} is locked"
        wait_until(
            lambda: not list(self.temporary.glob("q2a-*")), END_SECONDS, "Ray's folders are gone"
        )
