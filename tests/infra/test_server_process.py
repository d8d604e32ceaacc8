"""A server that a command starts is waited for, explained where it fails, and ended in time."""

import os
import sys
import time
from pathlib import Path

import pytest

from infra import server_process as server_module
from infra.server_process import (
    HOST,
    PortTakenError,
    ServerError,
    check_port,
    free_port,
    server_process,
)

DEAF = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']);"
    "print(child.pid, flush=True); time.sleep(300)"
)


def test_a_server_is_waited_for_has_a_session_of_its_own_and_ends(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", HOST, str(port)]
    with server_process("server", command, {}, tmp_path / "logs" / "log") as server:
        server.wait_until_healthy(f"http://{HOST}:{port}/", 60)
        assert os.getsid(server.process.pid) == server.process.pid
        with pytest.raises(PortTakenError, match=rf"MLflow can't have port {port} .*--mlflow-port"):
            check_port("MLflow", port, "--mlflow-port")
    assert server.process.poll() is not None
    check_port("MLflow", port, "--mlflow-port")


def test_a_server_that_does_not_start_is_explained_by_what_it_said_last(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('the key is missing')"]
    with (
        pytest.raises(ServerError, match=r"the server ended with code 1; .*\nthe key is missing$"),
        server_process("the server", command, {}, tmp_path / "log") as server,
    ):
        server.wait_until_healthy(f"http://{HOST}:{free_port()}/", 60)


def test_a_server_that_stays_mute_is_given_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(300)"]
    with (
        pytest.raises(ServerError, match="has not answered for 0 s"),
        server_process("the server", command, {}, tmp_path / "log") as server,
    ):
        server.wait_until_healthy(f"http://{HOST}:{free_port()}/", 0.2)


def test_a_server_that_ignores_its_end_is_killed_with_all_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_STOP_SECONDS", 0.5)
    log = tmp_path / "log"
    with server_process("the server", [sys.executable, "-c", DEAF], {}, log) as server:
        end = time.monotonic() + 30
        while not log.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
    assert server.process.returncode == -9
    child = Path(f"/proc/{log.read_text().strip()}/stat")
    while child.exists() and ") Z " not in child.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
