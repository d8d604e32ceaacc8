"""Recordings are read from web servers that know no ranges, tell no size or are in trouble."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from infra.storage import file_systems, remote_file
from infra.storage.source_files import FileTooLargeError, open_url, read_url
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.remote_files import DATA


class _NoRanges(SimpleHTTPRequestHandler):
    """Python's own, which answers with the whole file whatever was asked."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/a"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("small_blocks")
def test_a_server_that_knows_no_ranges_gives_the_right_bytes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with serving(partial(_NoRanges, directory=str(tmp_path))) as url:
        assert read_url(url, 1 << 20, 1000, 500) == DATA[1000:1500]
        with open_url(url) as stream:
            assert stream.read() == DATA


@pytest.mark.usefixtures("small_blocks")
def test_an_http_server_is_asked_once_for_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", len(DATA))
    (tmp_path / "a").write_bytes(DATA)
    methods: list[str] = []

    class Counting(_NoRanges):
        def do_HEAD(self) -> None:
            methods.append(self.command)
            super().do_HEAD()

        def do_GET(self) -> None:
            methods.append(self.command)
            super().do_GET()

    with serving(partial(Counting, directory=str(tmp_path))) as url:
        assert read_url(url, 1 << 20) == DATA
    assert methods == ["HEAD", "GET"]


class _Chunked(_NoRanges):
    """Does not give the size of the file and sends it little by little."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        for position in range(0, len(DATA), 8000):
            piece = DATA[position : position + 8000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0.005)
        self.wfile.write(b"0\r\n\r\n")


@pytest.mark.usefixtures("small_blocks")
def test_a_server_that_does_not_tell_the_size_gives_all_the_same(tmp_path: Path) -> None:
    with serving(partial(_Chunked, directory=str(tmp_path))) as url:
        assert read_url(url, 1 << 20) == DATA
        assert read_url(url, 1 << 20, 1000, 500) == DATA[1000:1500]
        with open_url(url) as stream:
            assert stream.read() == DATA
        with pytest.raises(FileTooLargeError):
            read_url(url, 10_000)


def test_an_http_server_in_trouble_is_no_missing_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_systems, "FIRST_BACKOFF_SECONDS", 0.01)
    data = np.random.default_rng(1).bytes(300_000)
    (tmp_path / "a.wav").write_bytes(data)
    files = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    )
    Thread(target=files.serve_forever, daemon=True).start()
    with FaultyProxy(f"http://127.0.0.1:{files.server_port}").running() as web:
        troubles: tuple[tuple[str, Fault], ...]
        troubles = (("HEAD", "error"), ("GET", "error"), ("GET", "cut"))
        for method, fault in troubles:
            web.fail(method, "/a.wav", fault, times=2)
        assert read_url(f"{web.endpoint}/a.wav", 1 << 20) == data
        assert web.plan == []
        with pytest.raises(FileNotFoundError):
            read_url(f"{web.endpoint}/none.wav", 1 << 20)
    files.shutdown()
    files.server_close()
