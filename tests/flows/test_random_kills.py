"""Drills: SIGKILL at random moments, again and again; the end is that of an undisturbed run."""

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from flows.runners import open_tracking
from tests.support.drill_tools import NAMES, Q2A, Drill, options, settings_of
from tests.support.kills import Killed
from tests.support.tiny_run import DRIVER, Driver

pytestmark = pytest.mark.drill

SEED = 13
KILLS_PER_STAGE = 2
KILLS_IN_PROCESS = 30
START_OF_RAY_SECONDS = 5.0


@pytest.fixture
def new_home(tmp_path: Path) -> Iterator[Callable[[], Killed]]:
    """Make homes, which share a folder for temporary files."""
    with TemporaryDirectory(prefix="t") as temporary:
        numbers = iter(range(100))
        yield lambda: Killed(tmp_path / f"home-{next(numbers)}", Path(temporary))


def has_begun(driver: Driver, stage: str) -> bool:
    """Whether a driver's log has the line after which it begins a stage."""
    log = driver.log.read_text()
    if stage == NAMES[0]:
        return "pipeline run " in log
    before = NAMES[NAMES.index(stage) - 1]
    return f"{before}: done in" in log or f"{before}: hit in" in log


def begin_or_continue(drill: Drill, killed: Killed, *command: str) -> Driver:
    """`q2a resume` of the home's run, `command` where it has none yet."""
    if killed.marks:
        newest = open_tracking(settings_of(killed.home)).pipelines()[0]
        command = (Q2A, "resume", newest.info.run_id)
    return drill.drive([*command], killed.environment)


def test_twelve_kills_over_all_stages_on_ray_end_as_the_undisturbed_run(
    drill: Drill, new_home: Callable[[], Killed]
) -> None:
    on_ray = (*drill.overrides, "resources.backend=ray", "resources.num_workers=1")
    draw, began, log = random.Random(SEED), time.monotonic(), ""
    killed, num_kills = new_home(), 0
    while num_kills < KILLS_PER_STAGE * len(NAMES):
        stage = NAMES[num_kills // KILLS_PER_STAGE]
        delay = draw.uniform(0, drill.undisturbed.seconds(stage) + START_OF_RAY_SECONDS)
        # At once, while what the killed driver started may still be about to end.
        driver = begin_or_continue(drill, killed, Q2A, "run", *options(on_ray))
        is_killed = killed.kill(driver, partial(has_begun, driver, stage), delay)
        log += driver.log.read_text()
        print(f"{stage} + {delay:.1f} s: {'killed' if is_killed else 'had ended'}")
        num_kills += is_killed
        if not is_killed:
            killed.assert_finished_as(drill.undisturbed, on_ray)
            killed = new_home()
    if killed.marks:
        log += begin_or_continue(drill, killed).finish()
        killed.assert_finished_as(drill.undisturbed, on_ray)
    drill.report.add(
        "12 random kills",
        "SIGKILL of `q2a run` on Ray and of each `q2a resume` that follows, two in each stage; "
        "bit-equal, no process, lock, RUNNING run or scratch file left",
        time.monotonic() - began - sum(map(drill.undisturbed.seconds, NAMES)),
        log,
        "continues from the state after step",
    )


def test_thirty_kills_in_one_process_end_as_the_undisturbed_run(
    drill: Drill, new_home: Callable[[], Killed]
) -> None:
    length = sum(map(drill.undisturbed.seconds, NAMES))
    draw, began, log = random.Random(SEED), time.monotonic(), ""
    killed, num_kills = new_home(), 0
    while num_kills < KILLS_IN_PROCESS:
        delay = draw.uniform(0, length)
        driver = drill.drive(["-c", DRIVER, *drill.overrides], killed.environment)
        is_killed = killed.kill(driver, partial(has_begun, driver, NAMES[0]), delay)
        log += driver.log.read_text()
        num_kills += is_killed
        if not is_killed:
            killed.assert_finished_as(drill.undisturbed, drill.overrides)
            killed = new_home()
    if killed.marks:
        log += begin_or_continue(drill, killed).finish()
        killed.assert_finished_as(drill.undisturbed, drill.overrides)
    drill.report.add(
        "30 random kills",
        "SIGKILL of a driver in one process, moments drawn over the length of a run; bit-equal, "
        "no process, lock, RUNNING run or scratch file left",
        time.monotonic() - began - length,
        log,
        "continues from the state after step",
    )
