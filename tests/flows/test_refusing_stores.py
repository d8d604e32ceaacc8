"""Drills: a store on a disk that is full, and one that can only be read."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.runners import open_tracking
from infra.settings import Settings
from tests.support.drill_tools import (
    EXECUTE,
    NAMES,
    Q2A,
    Drill,
    environment_of,
    options,
    result_of,
    settings_of,
)
from tests.support.interrupted_stages import contents
from tests.support.tiny_run import Hold

pytestmark = pytest.mark.drill

READ_ONLY = [
    "unshare", "--mount" if os.getuid() == 0 else "-rm",
    "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"',
]  # fmt: skip
"""Goes before a folder, which is read-only for the command that follows."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk of one's own here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave room for a few lines alone."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - 8192))
    return filler


def assert_as_undisturbed(drill: Drill, settings: Settings) -> float:
    """Every artifact is the undisturbed one; returns the time that they took."""
    run = result_of(settings, drill.overrides)
    for stage in NAMES:
        expected = contents(drill.undisturbed.artifact(stage))
        assert contents(run.artifact(stage)) == expected
    return sum(map(run.seconds, NAMES))


def test_a_full_disk_ends_the_run_by_name_and_room_continues_it(
    drill: Drill, small_disk: Path
) -> None:
    store, began = small_disk / "store", time.monotonic()
    hold = Hold("ingest", drill.folder / "held")
    driver = drill.start(*hold.prefix, Q2A, "run", *options(drill.overrides), Q2A_STORE=str(store))
    driver.wait_until(hold.reached)
    filler = fill(small_disk)
    hold.let_go()
    assert driver.process.wait(300) == 1, driver.log.read_text()
    log = driver.log.read_text()
    print(log)
    (last,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert f"there is no room to write {store}/ingest/" in last
    assert "Free space there, or move the store" in last
    assert "Traceback" not in log

    filler.unlink()
    settings = settings_of(drill.home, store=str(store))
    (run,) = open_tracking(settings).pipelines()
    assert run.info.status == "FAILED"
    drill.start(Q2A, "resume", run.info.run_id, Q2A_STORE=str(store)).finish()
    worked = assert_as_undisturbed(drill, settings)
    drill.report.add(
        "full store",
        "the disk of the store is full in ingest; ended with code 1, resumed bit-equal when there "
        "was room",
        time.monotonic() - began - worked,
        log,
        "there is no room to write",
    )


def test_a_disk_that_is_full_in_training_has_some_minutes_to_get_room(
    drill: Drill, small_disk: Path
) -> None:
    store, began = small_disk / "store", time.monotonic()
    driver = drill.start(
        *drill.hold.prefix, Q2A, "run", *options(drill.overrides), Q2A_STORE=str(store)
    )
    driver.wait_until(drill.hold.reached)
    filler = fill(small_disk)
    drill.hold.let_go()
    driver.wait_until(lambda: "there is no room to write" in driver.log.read_text())
    filler.unlink()
    log = driver.finish()
    worked = assert_as_undisturbed(drill, settings_of(drill.home, store=str(store)))
    drill.report.add(
        "full store in training",
        "the disk of the store is full when a state is written, and has room again; the run goes "
        "on by itself, bit-equal",
        time.monotonic() - began - worked,
        log,
        "there is no room to write",
    )


def test_a_store_that_can_only_be_read_gives_hits_and_refuses_a_missing_artifact_by_name(
    drill: Drill,
) -> None:
    store = drill.undisturbed.settings.store_url
    probe = subprocess.run(
        [*READ_ONLY, store, "touch", f"{store}/new"], capture_output=True, text=True, check=False
    )
    if "Read-only file system" not in probe.stderr:
        pytest.skip(f"no read-only folder here: {probe.stderr.strip()}")
    environment = environment_of(drill.home) | {"Q2A_STORE": store}
    command = [*EXECUTE, *READ_ONLY, store, sys.executable, Q2A, "run"]
    log = drill.drive([*command, *options(drill.overrides)], environment).finish()
    assert log.count(": hit in ") == len(drill.undisturbed.outcomes)

    began = time.monotonic()
    longer = (*drill.overrides, "dpo.optimizer.steps=5")
    driver = drill.drive([*command, *options(longer)], environment)
    assert driver.process.wait(300) == 2, driver.log.read_text()
    log = driver.log.read_text()
    print(log)
    assert log.count(": hit in ") == 4
    (last,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert f"the artifact of dpo has to be made, but its folder {store}/dpo/" in last
    assert "Read-only file system" in last
    assert "Traceback" not in log
    drill.report.add(
        "read-only store",
        "a store that is mounted read-only; whole artifacts are hits, a missing one is refused "
        "with code 2",
        time.monotonic() - began,
        log,
        "has to be made, but its folder",
    )
