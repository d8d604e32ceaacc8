"""A signal ends a process cleanly if it can, and in time if it can't."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra import stop_signals
from infra.stop_signals import StopSignals, kept_handlers

PROGRAM = """
import os, signal, sys, time
from infra import stop_signals
stop_signals.CLEAN_UP_SECONDS = 2.0
with stop_signals.StopSignals() as stop:
    try:
        {work}
    except BaseException as error:
        print(type(error).__name__, flush=True)
        {clean_up}
sys.exit(stop.exit_code)
"""
READY = "print('ready', flush=True); "
WAIT = READY + "time.sleep(60)"
# Locks a mutex of C twice: it never returns, and no handler of Python runs. It is ready after that.
DEAF = (
    "import ctypes, threading; lock = ctypes.CDLL(None).pthread_mutex_lock; "
    "mutex = ctypes.create_string_buffer(64); "
    "threading.Timer(0.5, lambda: print('ready', flush=True)).start(); lock(mutex); lock(mutex)"
)
THEIRS = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "


@contextmanager
def program(work: str, clean_up: str = "pass") -> Iterator["subprocess.Popen[str]"]:
    code = PROGRAM.format(work=work, clean_up=clean_up)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_is_raised_and_decides_the_exit_code(number: signal.Signals, code: int) -> None:
    with program(WAIT) as process:
        process.send_signal(number)
        assert process.communicate(timeout=30) == ("StoppedError\n", "")
        assert process.returncode == code


def test_the_same_signal_twice_in_a_moment_is_one() -> None:
    with program(WAIT, "time.sleep(0.5)") as process:
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert process.communicate(timeout=30) == ("StoppedError\n", "")
        assert process.returncode == 143


def test_a_second_signal_ends_a_clean_up_at_once() -> None:
    with program(WAIT, "time.sleep(60)") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(1.3)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert errors.startswith("stopped by SIGINT at once: a second signal came; `q2a resume")
        assert process.returncode == 130


@pytest.mark.parametrize(
    ("work", "clean_up"),
    [
        (WAIT, "time.sleep(60)"),
        (DEAF, "pass"),
        ("signal.signal(signal.SIGTERM, lambda *_: None); " + WAIT, "pass"),
    ],
    ids=["slow clean-up", "work in C", "handler of a library"],
)
def test_what_does_not_end_is_ended_in_time(work: str, clean_up: str) -> None:
    with program(work, clean_up) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert 1.9 < time.monotonic() - began < 20
        assert "stopped by SIGTERM at once: its clean-up took over 2 s" in errors
        assert process.returncode == 143


def test_the_exit_code_is_the_signals_where_a_library_has_taken_it() -> None:
    with program(THEIRS + WAIT) as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30) == ("SystemExit\n", "")
        assert process.returncode == 143


def test_without_a_signal_everything_is_as_before() -> None:
    before = [signal.getsignal(number) for number in stop_signals.STOP_SIGNALS]
    with StopSignals() as stop:
        assert signal.getsignal(signal.SIGTERM) != before[1]
        assert stop.received is None
    assert [signal.getsignal(number) for number in stop_signals.STOP_SIGNALS] == before
    end = time.monotonic() + 30
    while any(thread.name == "stop signals" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_handlers_of_libraries_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with kept_handlers() as restore:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        restore()
        assert signal.getsignal(signal.SIGTERM) == before
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_another_thread_handlers_are_left_alone() -> None:
    worked = threading.Event()

    def work() -> None:
        with kept_handlers() as restore:
            restore()
        worked.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert worked.is_set()
