"""The S3 server of tests and benchmarks starts whatever else this machine runs."""

import socket
from pathlib import Path

import pytest

from benchmarks import seaweed


def test_a_server_whose_port_was_taken_before_it_came_starts_again_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[list[int]] = []
    plain = seaweed._free_ports

    def ports(count: int) -> list[int]:
        free = plain(count)
        if not starts:
            free[1] = taken.getsockname()[1]
        starts.append(free)
        return free

    monkeypatch.setattr(seaweed, "_free_ports", ports)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        seaweed.seaweed(tmp_path / "weed") as endpoint,
    ):
        assert len(starts) == 2
        assert endpoint.endswith(f":{starts[1][3]}")
