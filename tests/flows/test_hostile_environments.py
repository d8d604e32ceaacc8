"""Drills: whole runs where the machine gives little, or names that nobody expects."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.drill_tools import (
    EXECUTE,
    NAMES,
    Q2A,
    WEIGHTS,
    Drill,
    environment_of,
    options,
    result_of,
    settings_of,
)

pytestmark = pytest.mark.drill

ON_RAY = ("resources.backend=ray", "resources.num_workers=1")
RUN = [sys.executable, Q2A, "run"]
ODD = "größe 大小 'n"
"""Part of every path: letters beyond ASCII, blanks and a quote."""
JUMPS = """
import os, time
_real = time.time
time.time = lambda: _real() - 3600 * os.path.exists(os.environ["CLOCK_JUMPS"])
"""


def assert_as_undisturbed(drill: Drill, began: float, what: tuple[str, str], log: str) -> None:
    """The models are those of the undisturbed run; adds a row to the report."""
    run = result_of(settings_of(drill.home), (*drill.overrides, *ON_RAY))
    for stage in ("pretrain", "sft", "dpo"):
        expected = drill.undisturbed.artifact(stage).digest(WEIGHTS)
        assert run.artifact(stage).digest(WEIGHTS) == expected
    lost = time.monotonic() - began - sum(map(drill.undisturbed.seconds, NAMES))
    drill.report.add(*what, lost, log, "evaluate: done in")


def test_a_run_needs_no_more_than_256_open_files(drill: Drill) -> None:
    began = time.monotonic()
    limited = [*EXECUTE, "sh", "-c", 'ulimit -n 256 && exec "$@"', "sh"]
    log = drill.start(*limited, *RUN, *options((*drill.overrides, *ON_RAY))).finish()
    assert_as_undisturbed(drill, began, ("open files", "`ulimit -n 256` for a run on Ray"), log)


def test_a_clock_that_jumps_back_by_an_hour_in_training_changes_nothing(drill: Drill) -> None:
    began = time.monotonic()
    folder, jumped = drill.folder / "clock", drill.folder / "jumped"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(JUMPS)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    driver = drill.start(
        *drill.hold.prefix, Q2A, "run", *options((*drill.overrides, *ON_RAY)),
        PYTHONPATH=path, CLOCK_JUMPS=str(jumped),
    )  # fmt: skip
    driver.wait_until(drill.hold.reached)
    jumped.touch()
    drill.hold.let_go()
    log = driver.finish()
    times = [
        json.loads(path.read_text())["saved_at"]
        for path in drill.home.glob("store/pretrain/*/training_state/position.json")
    ]
    assert 3000 < time.time() - times[0] < 3600 + 900, "the clock did not jump in the worker"
    what = "the clock of all processes goes back by an hour in training, on Ray"
    assert_as_undisturbed(drill, began, ("clock jump", what), log)


@pytest.fixture
def odd_manifest(drill: Drill, small_manifest: Path) -> Path:
    """The small manifest, with recordings whose names are odd as well."""
    folder = drill.folder / ODD
    folder.mkdir()
    rows = [json.loads(line) for line in small_manifest.read_text().splitlines()]
    for row in rows:
        audio = Path(row["audio"])
        copy = folder / f"{ODD} {audio.name}"
        shutil.copy(audio, copy)
        row["audio"] = copy.name
    path = folder / f"{ODD}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def test_every_path_may_hold_blanks_and_letters_of_any_language(
    drill: Drill, odd_manifest: Path
) -> None:
    began, home = time.monotonic(), drill.folder / f"home {ODD}"
    store = drill.folder / f"store {ODD}"
    overrides = (
        *drill.overrides, *ON_RAY, f"data.manifest={json.dumps(str(odd_manifest))}"
    )  # fmt: skip
    temporary = drill.folder / f"temporary {ODD}"
    temporary.mkdir()
    environment = environment_of(home) | {"TMPDIR": str(temporary), "Q2A_STORE": str(store)}
    log = drill.drive([Q2A, "run", *options(overrides)], environment).finish()
    second = drill.drive([Q2A, "run", *options(overrides)], environment).finish()
    assert second.count(": hit in ") == len(NAMES)
    run = result_of(settings_of(home, store=str(store)), overrides)
    expected = drill.undisturbed.artifact("dpo").digest(WEIGHTS)
    assert run.artifact("dpo").digest(WEIGHTS) == expected
    drill.report.add(
        "odd paths",
        "blanks, quotes and letters beyond ASCII in the paths of home, store, manifest, "
        "recordings and temporary files, on Ray; again: all hits",
        time.monotonic() - began - sum(map(drill.undisturbed.seconds, NAMES)),
        log,
        "evaluate: done in",
    )


NOBODY = [
    "unshare", "--mount" if os.getuid() == 0 else "-rm",
    "sh", "-c", 'mount --bind /dev/null /etc/passwd && exec "$@"', "sh",
]  # fmt: skip
"""Goes before a command of a user who is not in /etc/passwd, such as one of a container."""


@pytest.mark.parametrize("home", [None, "/proc/nowhere"], ids=["no HOME", "HOME can't be made"])
def test_a_user_without_a_home_can_run(drill: Drill, home: str | None) -> None:
    probe = subprocess.run([*NOBODY, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"/etc/passwd can't be hidden here: {probe.stderr.strip()}")
    began = time.monotonic()
    settle = [
        "env",
        "-u",
        "USER",
        "-u",
        "LOGNAME",
        "-u",
        "HOME",
        *([f"HOME={home}"] if home else []),
    ]
    log = drill.start(
        *EXECUTE, *NOBODY, *settle, *RUN, *options((*drill.overrides, *ON_RAY))
    ).finish()
    what = f"{f'HOME={home}' if home else 'no HOME'} and no entry in /etc/passwd, on Ray"
    assert_as_undisturbed(drill, began, ("no HOME", what), log)
