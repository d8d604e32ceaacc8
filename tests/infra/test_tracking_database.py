"""MLflow's SQLite file after every kind of first start."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient

from infra.tracking import Tracking
from infra.tracking_database import TrackingDatabaseError, prepare_database

MAKE = """
import sys
from pathlib import Path
from infra.tracking import Tracking
home = Path(sys.argv[1])
tracking = Tracking(f"sqlite:///{home}/mlflow.db", home / "artifacts")
tracking.start_pipeline("first", {}).finish("FINISHED")
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database without runs."""
    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    prepare_database(f"sqlite:///{path}", path.parent)
    return path


@pytest.fixture
def home(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home where making a database is copying one, which takes no ten seconds."""

    def copy(path: Path, _: Path) -> None:
        shutil.copyfile(whole, path)

    monkeypatch.setattr("infra.tracking_database._open", copy)
    return tmp_path


def open_in(home: Path) -> Tracking:
    return Tracking(f"sqlite:///{home}/mlflow.db", home / "artifacts")


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def make_first_tables(path: Path) -> None:
    execute(path, "CREATE TABLE experiments (experiment_id INTEGER)", "CREATE TABLE runs (id TEXT)")


def make_tables_without_version(path: Path) -> None:
    execute(path, "DELETE FROM alembic_version", "DELETE FROM experiments")


def make_all_but_the_last_change(path: Path) -> None:
    execute(path, "UPDATE alembic_version SET version_num = 'older'", "DELETE FROM experiments")


@pytest.mark.parametrize(
    "make", [make_first_tables, make_tables_without_version, make_all_but_the_last_change]
)
def test_a_half_made_database_without_runs_is_set_aside_and_made_again(
    home: Path, whole: Path, make: Callable[[Path], None]
) -> None:
    if make is not make_first_tables:
        shutil.copyfile(whole, home / "mlflow.db")
    make(home / "mlflow.db")

    open_in(home).start_pipeline("run", {}).finish("FINISHED")

    (aside,) = home.glob("mlflow.db.damaged-*")
    assert aside.stat().st_size > 0
    assert sorted(home.glob("mlflow.db*")) == [home / "mlflow.db", aside]


@pytest.mark.parametrize(
    "left", ["", "mlflow.db", "mlflow.db-journal", "mlflow.db.partial", "mlflow.db.partial-journal"]
)
def test_a_kill_before_during_or_after_creation_leaves_a_home_that_starts(
    home: Path, left: str
) -> None:
    """SQLite would roll the journal of another file into a database of this name."""
    if left:
        (home / left).write_bytes(b"" if left == "mlflow.db" else b"half")
    open_in(home).start_pipeline("run", {}).finish("FINISHED")
    names = {path.name.partition(".damaged-")[0] for path in home.iterdir()}
    assert names == {"artifacts", "mlflow.db"}


def test_a_database_with_runs_that_lost_a_table_is_named_and_left_alone(
    tmp_path: Path, whole: Path
) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(whole, path)
    open_in(tmp_path).start_pipeline("kept", {})
    execute(path, "DROP TABLE logged_models")

    with pytest.raises(TrackingDatabaseError, match=r"mlflow\.db has runs.*Restore it"):
        open_in(tmp_path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM runs").fetchall() == [("kept",)]


@pytest.mark.parametrize("num_bytes", [100, 5000, 60_000])
def test_a_file_that_sqlite_can_not_read_is_named_with_the_remedy(
    home: Path, whole: Path, num_bytes: int
) -> None:
    (home / "mlflow.db").write_bytes(b"no database" + whole.read_bytes()[11:num_bytes])
    with pytest.raises(TrackingDatabaseError, match=r"mlflow\.db can't be read \(.*Restore it"):
        open_in(home)


def test_a_whole_database_is_not_touched(home: Path, whole: Path) -> None:
    shutil.copyfile(whole, home / "mlflow.db")
    before = (home / "mlflow.db").stat()
    prepare_database(f"sqlite:///{home}/mlflow.db", home)
    after = (home / "mlflow.db").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_server_and_memory_have_no_file_to_prepare(tmp_path: Path) -> None:
    for uri in ("http://127.0.0.1:1", "sqlite:///:memory:", "sqlite://"):
        prepare_database(uri, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_another_process_locks_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow itself waits for 20 s, here for none."""
    tracking = open_in(home)
    run = tracking.start_pipeline("run", {})
    monkeypatch.setattr(
        "mlflow.store.db.utils.sql.text",
        lambda text: sqlalchemy.text(text.replace("= 20000", "= 0")),
    )
    locks = sqlite3.connect(home / "mlflow.db", isolation_level=None, check_same_thread=False)
    locks.execute("BEGIN EXCLUSIVE")
    threading.Timer(3, locks.close).start()
    with caplog.at_level("WARNING"):
        run.metrics({"loss": 1.0}, 1)
    assert (
        "MLflow's log_batch: attempt 1 in 0 of 240 s failed (the database is locked)" in caplog.text
    )
    assert MlflowClient(tracking.uri).get_run(run.run_id).data.metrics == {"loss": 1.0}


def test_a_database_that_stays_locked_is_named_without_pages_of_sql(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = open_in(home)
    run = tracking.start_pipeline("run", {})
    monkeypatch.setattr("infra.tracking_database.WAIT_SECONDS", 0.0)
    monkeypatch.setattr(
        "mlflow.store.db.utils.sql.text",
        lambda text: sqlalchemy.text(text.replace("= 20000", "= 0")),
    )
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as locks:
        locks.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingDatabaseError, match=r"mlflow\.db stayed locked") as raised:
            run.metrics({"loss": 1.0}, 1)
    assert "\n" not in str(raised.value)


@pytest.mark.drill
def test_two_first_starts_at_once_both_get_in(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(600) for process in processes] == [0, 0]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'q2a'")
    assert len(client.search_runs([experiment.experiment_id])) == 2


@pytest.mark.drill
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_kill_9_at_any_moment_of_the_first_start_leaves_a_home_that_starts(
    tmp_path: Path, share: float
) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path)]
    process = subprocess.Popen(command)
    partial = tmp_path / "mlflow.db.partial"
    while not partial.exists():
        assert process.poll() is None
        time.sleep(0.01)
    grown = 700_000 * share  # MLflow 3.17's database ends with about 0.8 MB
    while partial.exists() and partial.stat().st_size < grown and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.wait()
    subprocess.run(command, check=True)
    assert not list(tmp_path.glob("mlflow.db[.-]*"))
