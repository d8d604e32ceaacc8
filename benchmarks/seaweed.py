"""An S3 server on this machine for benchmarks and tests: SeaweedFS, a development package."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "drill-secret"}
"""Environment variables by which clients reach the server."""
BUCKET = "drill"
_PARTS = ("master", "volume", "filer", "s3", "admin")
_MAX_STARTS = 5
"""A port that was free may be taken before the server binds it: it ends, and gets others."""
_READY_SECONDS = 300.0
_END_SECONDS = 3.0
"""Nobody reads its data afterwards; with a connection open, it would take half a minute."""


def _free_ports(count: int) -> list[int]:
    """Return different ports: each is held until all are chosen."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """Run a server that has the bucket and keeps its data in `folder`; yields its URL."""
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    for _ in range(_MAX_STARTS):
        server, endpoint = _start(folder, log)
        try:
            if _becomes_ready(server, endpoint, log):
                yield endpoint
                return
        finally:
            _end(server)
    raise RuntimeError(
        f"SeaweedFS ended {_MAX_STARTS} times at its start. See {log}:\n{_tail(log)}"
    )


def _start(folder: Path, log: Path) -> tuple["subprocess.Popen[bytes]", str]:
    free = _free_ports(2 * len(_PARTS))
    ports = dict(zip(_PARTS, free[: len(_PARTS)], strict=True))
    grpc_ports = dict(zip(_PARTS, free[len(_PARTS) :], strict=True))
    command = [
        str(Path(sys.executable).parent / "weed"), "mini", f"-dir={folder}",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-admin.ui=false", "-webdav=false",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={port}" for name, port in grpc_ports.items()),
        "-s3.port.iceberg=0",
    ]  # fmt: skip
    with log.open("a") as stream:
        server = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
            env=os.environ | KEYS,
        )  # fmt: skip
    return server, f"http://127.0.0.1:{ports['s3']}"


def _becomes_ready(server: "subprocess.Popen[bytes]", endpoint: str, log: Path) -> bool:
    """Wait until the server takes objects; return False where it has ended instead.

    Raises:
        TimeoutError: the server runs and takes none.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while not _takes_an_object(endpoint):
        if server.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"SeaweedFS at {endpoint} took no object within {_READY_SECONDS:.0f} s. See {log}:"
                f"\n{_tail(log)}"
            )
        time.sleep(0.1)
    return True


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-20:])


def _takes_an_object(endpoint: str) -> bool:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 1}),
    )
    try:
        if not client.list_buckets()["Buckets"]:
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="probe", Body=b"probe")
    except Exception:
        return False
    return True
