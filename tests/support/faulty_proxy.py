"""A proxy in front of a server that breaks requests and answers as networks do."""

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal

Fault = Literal[
    "error",  # 500, before the request reaches the server
    "error after",  # 500, after the server has done it
    "slow",  # a byte a second
    "cut",  # the connection ends after half of the promised bytes
    "short",  # half of the bytes, promised as if they were all
]


@dataclass
class FaultyProxy:
    """Passes requests on to a server; those that are planned to fail, fail."""

    server: str
    """URL of the server behind the proxy."""
    endpoint: str = ""
    """URL of the proxy while it runs."""
    plan: list[tuple[str, str, Fault]] = field(default_factory=list)
    """(method, part of the path, fault), each for one request, in order."""
    happened: list[tuple[str, str, Fault]] = field(default_factory=list)
    """(method, path, fault) of each request that failed."""

    def fail(self, method: str, path: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` requests of `method` whose path contains `path` fail."""
        self.plan += [(method, path, fault)] * times

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that is planned for a request, once; None where it passes."""
        for planned in self.plan:
            if planned[0] == method and planned[1] in path:
                self.plan.remove(planned)
                self.happened.append((method, path, planned[2]))
                return planned[2]
        return None

    @contextmanager
    def running(self) -> Iterator["FaultyProxy"]:
        """Listen at a free port until the block ends."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                """Log nothing."""

            def _forward(self) -> None:
                _answer(self, proxy)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listener.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{listener.server_port}"
        Thread(target=listener.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            listener.shutdown()
            listener.server_close()


def _answer(request: BaseHTTPRequestHandler, proxy: FaultyProxy) -> None:
    body = _body(request)
    fault = proxy.take(request.command, request.path)
    if fault != "error":
        upstream = http.client.HTTPConnection(proxy.server.removeprefix("http://"))
        headers = {k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"}
        headers["Content-Length"] = str(len(body))
        upstream.putrequest(
            request.command, request.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in headers.items():
            if not (name == "Content-Length" and request.command in ("GET", "HEAD", "DELETE")):
                upstream.putheader(name, value)
        upstream.endheaders(body or None)
        answer = upstream.getresponse()
        data = answer.read()
    if fault in ("error", "error after"):
        request.send_response(500)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    sent = data[: len(data) // 2] if fault in ("cut", "short", "slow") else data
    promised = len(sent) if fault == "short" else len(data)
    request.send_response(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in ("content-length", "transfer-encoding", "connection"):
            request.send_header(name, value)
    length = answer.getheader("Content-Length") if request.command == "HEAD" else str(promised)
    if length:
        request.send_header("Content-Length", length)
    request.end_headers()
    try:
        if fault == "slow":
            for index in range(len(sent)):
                request.wfile.write(sent[index : index + 1])
                request.wfile.flush()
                time.sleep(1)
        request.wfile.write(sent if request.command != "HEAD" else b"")
    except OSError:
        pass  # the client was tired of waiting
    if fault == "cut":
        request.close_connection = True


def _body(request: BaseHTTPRequestHandler) -> bytes:
    """Return the request's bytes unchanged: a signed, chunked upload keeps its signatures."""
    if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
        pieces = []
        while size := int(request.rfile.readline().split(b";")[0], 16):
            pieces.append(request.rfile.read(size))
            request.rfile.readline()
        request.rfile.readline()
        return b"".join(pieces)
    return request.rfile.read(int(request.headers.get("Content-Length", 0)))
