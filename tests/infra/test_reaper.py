"""Whatever ends a driver, what it started ends too, and nothing else does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.reaper import DRIVER_VARIABLE

DRIVER = """
import os, subprocess, sys, tempfile, time
from pathlib import Path
from infra.reaper import end_children_with_this_process
outsider = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
reaper = end_children_with_this_process()
assert end_children_with_this_process() is reaper
mark = reaper.mark
folder = tempfile.mkdtemp()
Path(folder, "socket").touch()
reaper.delete_at_end(Path(folder))
stubborn = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    # A descendant without the mark, in a session of its own.
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], env={},"
    " start_new_session=True); print(flush=True); time.sleep(300)"
)
def start(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
gentle = start("import time; print(flush=True); time.sleep(300)")
deaf = start(stubborn)
for child in (gentle, deaf):
    child.stdout.readline()
if os.fork() == 0:  # holds no end of the pipe
    time.sleep(300)
    os._exit(0)
print(folder, mark, outsider.pid, gentle.pid, deaf.pid, flush=True)
time.sleep(300)
"""


class Started:
    """A driver and the processes around it."""

    def __init__(self) -> None:
        self.driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, DRIVER_VARIABLE: "1.of-another"},
        )
        assert self.driver.stdout is not None
        folder, self.mark, *pids = self.driver.stdout.readline().split()
        self.folder = Path(folder)
        self.outsider, self.gentle, self.deaf = (psutil.Process(int(pid)) for pid in pids)
        (self.grandchild,) = self.deaf.children()
        own = psutil.Process(self.driver.pid).children()
        (self.reaper,) = [p for p in own if "reaper.py" in " ".join(p.cmdline())]
        known = {self.outsider, self.gentle, self.deaf, self.reaper}
        (self.forked,) = [p for p in own if p not in known]

    @property
    def all(self) -> list[psutil.Process]:
        return [
            self.outsider, self.gentle, self.deaf, self.grandchild, self.reaper, self.forked,
        ]  # fmt: skip


@pytest.fixture
def started() -> Iterator[Started]:
    started = Started()
    yield started
    for process in started.all:
        if process.is_running():
            process.kill()
    started.driver.kill()
    started.driver.wait()


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def seconds_until_ended(process: psutil.Process) -> float:
    began = time.monotonic()
    while not ended(process):
        assert time.monotonic() < began + 30, f"{process} lives"
        time.sleep(0.05)
    return time.monotonic() - began


def test_what_a_killed_driver_started_ends_and_so_does_the_reaper(started: Started) -> None:
    assert os.getsid(started.reaper.pid) == started.reaper.pid
    assert (started.folder / "socket").exists()
    assert DRIVER_VARIABLE not in started.reaper.environ()
    started.driver.kill()
    assert seconds_until_ended(started.gentle) < 4
    assert not ended(started.deaf), "it had no time between SIGTERM and SIGKILL"
    for process in (started.deaf, started.grandchild, started.reaper):
        seconds_until_ended(process)
    assert not started.folder.exists()
    assert not ended(started.outsider), "it was started before the driver had its mark"


def test_signals_of_a_whole_group_do_not_end_the_reaper_before_its_work(started: Started) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        started.reaper.send_signal(number)
    time.sleep(0.3)
    assert not ended(started.reaper)
    assert not ended(started.gentle)
    started.driver.terminate()
    seconds_until_ended(started.deaf)
    seconds_until_ended(started.reaper)


def test_no_signal_ends_the_reaper_in_its_first_moments() -> None:
    code = (
        "import os, signal, subprocess, sys, time; import infra.reaper as reaper\n"
        "started = []; popen = subprocess.Popen\n"
        "def signalled(*args, **options):\n"
        "    started.append(popen(*args, **options))\n"
        "    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
        "        started[0].send_signal(number)\n"
        "    return started[0]\n"
        "subprocess.Popen = signalled; reaper.end_children_with_this_process()\n"
        "time.sleep(0.5); print(started[0].poll(), signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert printed.stdout == "None set()\n", "it had ended, or its driver hears no signals any more"
