"""Servers that a command starts for itself, and that end with it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from data_contracts.errors import UsageError
from infra.reaper import end_children_with_this_process

HOST = "127.0.0.1"
"""Address of every server that is started here: nobody reaches it from outside."""
_STOP_SECONDS = 10.0
_LAST_CHARACTERS = 2000


class ServerError(RuntimeError):
    """A server did not start, or ended by itself."""


class PortTakenError(UsageError):
    """Another process listens on the port that a server was to have."""


@dataclass(frozen=True)
class ServerProcess:
    """A server's process, the leader of a session of its own, and the log that it writes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_until_healthy(self, url: str, seconds: float) -> None:
        """Wait until the server answers at a URL.

        Raises:
            ServerError: it ended, or does not answer in time; with what it printed last.
        """
        end = time.monotonic() + seconds
        while not _answers(url):
            if self.process.poll() is not None:
                raise ServerError(self.describe_end())
            if time.monotonic() > end:
                raise ServerError(
                    f"{self.name} has not answered for {seconds:.0f} s; it said last:\n{self._last}"
                )
            time.sleep(0.1)

    def describe_end(self) -> str:
        """Return the exit code of an ended server and what it printed last."""
        return f"{self.name} ended with code {self.process.returncode}; it said last:\n{self._last}"

    @property
    def _last(self) -> str:
        return self.log.read_text(errors="replace")[-_LAST_CHARACTERS:].strip()

    def stop(self) -> None:
        """Ask the server to end, and end its whole group by force where that takes too long."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def server_process(
    name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[ServerProcess]:
    """Run a server while the context is open.

    Its session is its own, so that a signal to the driver's group does not end it before the driver
    has told it what became of the run; the reaper ends it where the driver can't.

    Args:
        name: of the server, in messages.
        environment: variables that the server gets besides those of this process.
        log: file that gets what the server prints; an older one is overwritten.
    """
    end_children_with_this_process()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    server = ServerProcess(name, process, log)
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """Return a port of the loopback interface on which nobody listens."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def check_port(name: str, port: int, option: str) -> None:
    """Check that a server can have a port.

    Args:
        option: of the command line, which chooses the port.

    Raises:
        PortTakenError: another process has it.
    """
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise PortTakenError(
            f"{name} can't have port {port} of {HOST} ({error.strerror}); end what listens there, "
            f"or choose another one with {option}"
        ) from error


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except (OSError, HTTPException):
        return False
