"""Drills: the first start of a fresh home is killed, or is made twice at once."""

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.drill_tools import NAMES, Q2A, WEIGHTS, Drill, options, result_of, settings_of
from tests.support.kills import Killed

pytestmark = pytest.mark.drill


def num_tables(database: Path) -> int:
    """Tables that are in a database so far."""
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as read,
    ):
        ((number,),) = read.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'")
        return int(number)
    return 0


def test_first_starts_that_are_killed_are_followed_by_one_that_works(drill: Drill) -> None:
    """One home after another kill: each start finds what all those before have left."""
    began, home = time.monotonic(), drill.home
    prefect, mlflow = home / "prefect/prefect.db", home / "mlflow.db"
    points = {
        "the home is made": home.is_dir,
        "Prefect's database is begun": prefect.exists,
        "Prefect's first tables are there": lambda: num_tables(prefect) > 1,
        "half of Prefect's tables are there": lambda: num_tables(prefect) > 15,
        "MLflow's database is begun": lambda: any(home.glob("mlflow.db.partial*")),
        "half of MLflow's tables are there": lambda: num_tables(home / "mlflow.db.partial") > 10,
        "MLflow's database is there": mlflow.exists,
    }
    with TemporaryDirectory(prefix="t") as temporary:
        killed = Killed(home, Path(temporary))
        for point, reached in points.items():
            driver = drill.drive([Q2A, "run", *options(drill.overrides)], killed.environment)
            driver.wait_until(reached)
            killed.kill_all(driver)
            print(f"killed when {point}; Prefect has {num_tables(prefect)} tables")
        log = drill.drive([Q2A, "run", *options(drill.overrides)], killed.environment).finish()
        killed.assert_finished_as(drill.undisturbed, drill.overrides)
    drill.report.add(
        "first start",
        f"SIGKILL of `q2a run` and all it started, at {len(points)} points of the first starts of "
        "one home; the next one works, bit-equal",
        time.monotonic() - began - sum(map(drill.undisturbed.seconds, NAMES)),
        log,
        "evaluate: done in",
    )


def test_two_first_starts_at_once_make_each_artifact_once(drill: Drill) -> None:
    began = time.monotonic()
    command = [*drill.hold.prefix, Q2A, "run", *options(drill.overrides)]
    drivers = [drill.start(*command) for _ in range(2)]
    said = "pretrain: waits for another run with the same artifact"
    drivers[0].wait_until(
        lambda: (
            any(driver.process.poll() is not None for driver in drivers)
            or (drill.hold.reached() and any(said in each.log.read_text() for each in drivers))
        )
    )
    drill.hold.let_go()
    logs = [driver.finish() for driver in drivers]
    run = result_of(settings_of(drill.home), drill.overrides)
    assert len(run.tracking.pipelines()) == 2
    for stage in NAMES:
        assert len(list(drill.home.glob(f"store/{stage}/*"))) == 1
        for how in ("done", "hit"):
            assert [f"{stage}: {how} in" in log for log in logs].count(True) == 1
    expected = drill.undisturbed.artifact("dpo").digest(WEIGHTS)
    assert run.artifact("dpo").digest(WEIGHTS) == expected
    drill.report.add(
        "two first starts",
        "two `q2a run` at once in a home that is not there yet; both end well, each artifact is "
        "made once",
        time.monotonic() - began - sum(map(drill.undisturbed.seconds, NAMES)),
        "\n".join(logs),
        said,
    )
