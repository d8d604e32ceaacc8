"""A Ray of our own: the network reaches nothing of it, other users of the machine get nowhere."""

import http.client
import json
import os
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from infra.compute.interface import Worker
from infra.compute.on_ray import OnRay
from infra.compute.resources import Resources
from tests.support.listening import beyond_loopback, listening, port_of

pytestmark = pytest.mark.drill

JOB_PATHS = ("/api/jobs/", "/api/job_agent/jobs/")
READ_PATHS = ("/", "/api/version", "/api/v0/tasks", "/nodes?view=summary", "/logs", "/api/jobs/")
ATTACH = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR")
ray.get(ray.remote(lambda: open(sys.argv[2], "w").close()).remote())
"""


def hold_a_group(folder: Path, worker: Worker) -> None:
    """Use the group, then keep it until the test has looked at it."""
    import time

    from torch import distributed

    distributed.barrier()
    (folder / f"up-{worker.rank}").touch()
    while not (folder / "seen").exists():
        time.sleep(0.05)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A training group of two workers, that stands still."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    folder = tmp_path_factory.mktemp("group")
    compute = OnRay(Resources(num_cpus=2, num_workers=2, max_failures=0), "", folder)
    fitting = threading.Thread(target=compute.fit, args=[partial(hold_a_group, folder)])
    fitting.start()
    while len(list(folder.glob("up-*"))) < 2:
        assert fitting.is_alive(), "the group failed"
        fitting.join(0.1)
    yield folder
    (folder / "seen").touch()
    fitting.join(120)
    ray.shutdown()


@pytest.fixture
def addresses(group: Path) -> dict[str, str]:
    """What Ray's processes, the workers and this process listen on."""
    addresses = listening(os.getpid())
    names = set(addresses.values())
    assert "gcs_server" in names
    assert any("TrainWorker" in name for name in names), names
    return addresses


def test_all_ports_of_a_training_group_are_on_loopback(addresses: dict[str, str]) -> None:
    assert beyond_loopback(addresses) == {}


def test_no_port_takes_a_job_without_the_token(addresses: dict[str, str], tmp_path: Path) -> None:
    entrypoint = f"touch {tmp_path}/ran"
    body = json.dumps({"entrypoint": entrypoint}).encode()
    for port in map(port_of, addresses):
        for path in JOB_PATHS:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"}
            )
            assert status_of(request) in (0, 401, 403, 404, 405), (port, path)
    assert not (tmp_path / "ran").exists()


def test_no_port_shows_what_runs_without_the_token(addresses: dict[str, str]) -> None:
    for port in map(port_of, addresses):
        for path in READ_PATHS:
            status = status_of(urllib.request.Request(f"http://127.0.0.1:{port}{path}"))
            assert status in (0, 401, 403, 404, 405) or shows_metrics_only(port), (port, path)


@pytest.mark.parametrize(
    "credentials",
    [{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}],
    ids=["another token", "no token"],
)
def test_no_client_gets_in_without_the_token(
    addresses: dict[str, str], tmp_path: Path, credentials: dict[str, str]
) -> None:
    (gcs,) = [port_of(address) for address, name in addresses.items() if name == "gcs_server"]
    foreign = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    client = subprocess.run(
        [sys.executable, "-c", ATTACH, f"127.0.0.1:{gcs}", str(tmp_path / "ran")],
        env=foreign | credentials | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert client.returncode != 0
    assert "Authentication" in client.stderr or "Unauthenticated" in client.stderr, client.stderr
    assert not (tmp_path / "ran").exists()


def test_other_users_reach_none_of_its_sockets_and_files(group: Path) -> None:
    import ray

    session = Path(ray._private.worker._global_node.get_session_dir_path())
    private = session.parent.parent
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert private.stat().st_uid == os.getuid()


def test_the_token_is_in_no_command_line_and_no_file(group: Path) -> None:
    import ray

    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    assert not [process for process in processes if token in " ".join(process.cmdline())]
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    files = [path for folder in (session, group) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if token.encode() in path.read_bytes()]


def status_of(request: urllib.request.Request) -> int:
    """Return the status of an answer; 0 where none comes in HTTP."""
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def shows_metrics_only(port: int) -> bool:
    """Whether a port is one of Prometheus', which shows the same at every path."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.headers["Content-Type"]).startswith("text/plain")
    except OSError:
        return False
