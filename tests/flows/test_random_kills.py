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
RAY_SECONDS = 5.0
"""Time that Ray takes to start, at least."""
SECONDS_OF_SOME_STEPS = 1.0
TRAINED = ("pretrain", "sft", "dpo")


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


def has_state(home: Path, driver: Driver, stage: str) -> bool:
    """Whether a training has left a state to continue from, or is over already."""
    log = driver.log.read_text()
    is_over = f"{stage}: done in" in log or f"{stage}: hit in" in log
    return is_over or bool(list(home.glob(f"store/{stage}/*/scratch/states/*/position.json")))


def begin_or_continue(drill: Drill, killed: Killed, *command: str) -> Driver:
    """`q2a resume` of the home's run, `command` where it has none yet."""
    if killed.marks:
        newest = open_tracking(settings_of(killed.home)).pipelines()[0]
        command = (Q2A, "resume", newest.info.run_id)
    return drill.drive([*command], killed.environment)


def test_two_kills_in_each_stage_on_ray_end_as_the_undisturbed_run(
    drill: Drill, new_home: Callable[[], Killed]
) -> None:
    on_ray = (*drill.overrides, "resources.backend=ray", "resources.num_workers=1")
    draw, began, log = random.Random(SEED), time.monotonic(), ""
    killed, num_kills = new_home(), 0
    while num_kills < KILLS_PER_STAGE * len(NAMES):
        stage = NAMES[num_kills // KILLS_PER_STAGE]
        # At once, while what the killed driver started may still be about to end.
        driver = begin_or_continue(drill, killed, Q2A, "run", *options(on_ray))
        if stage in TRAINED and num_kills % KILLS_PER_STAGE:
            # However long Ray takes to start: there is something to continue from.
            begun = partial(has_state, killed.home, driver, stage)
            delay = draw.uniform(0, SECONDS_OF_SOME_STEPS)
        else:
            begun = partial(has_begun, driver, stage)
            delay = draw.uniform(0, drill.undisturbed.seconds(stage) + RAY_SECONDS)
        is_killed = killed.kill(driver, begun, delay)
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
        "2 random kills a stage",
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
