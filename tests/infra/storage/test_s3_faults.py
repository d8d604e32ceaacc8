"""The store on a real S3 server behind a network that breaks."""

import hashlib
import io
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from botocore.retries.standard import ExponentialBackoff

from benchmarks.seaweed import BUCKET, KEYS, seaweed
from infra.storage import file_systems, remote_file
from infra.storage.s3_refusals import StoreAccessError
from infra.storage.source_files import open_url, read_url
from infra.storage.store import MissingFileError, Store
from infra.storage.transfer import EndsTooEarlyError, StoreError
from tests.support.faulty_proxy import Fault, FaultyProxy

DATA = np.random.default_rng(1).bytes(300_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with seaweed(tmp_path_factory.mktemp("s3") / "weed") as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def one_proxy(server: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(server).running() as running:
        yield running


@pytest.fixture
def proxy(one_proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> FaultyProxy:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(file_systems, "FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.01)  # botocore's
    one_proxy.plan.clear()
    one_proxy.happened.clear()
    return one_proxy


@pytest.fixture
def store(proxy: FaultyProxy, request: pytest.FixtureRequest) -> Store:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return Store(f"s3://{BUCKET}/{name}", {"endpoint_url": proxy.endpoint})


def test_a_folder_in_which_nothing_is_left_has_no_keys(store: Store) -> None:
    store.write_bytes("notes/one", DATA)
    store.delete("notes/one")
    store.file_system.invalidate_cache()  # as another process sees it: the server lists the folder
    assert store.list_keys("notes") == []


READ_FAULTS: list[Fault] = ["error", "cut", "short"]


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_a_broken_answer_is_read_again_and_the_log_says_so(
    fault: Fault, store: Store, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_bytes("a", DATA)
    proxy.fail("GET", "/a", fault, times=4)  # more than botocore repeats by itself
    assert store.read_bytes("a") == DATA
    assert [happened[2] for happened in proxy.happened] == [fault] * 4
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name == "infra.storage.file_systems"
    ]
    assert lines
    assert all(re.search(r"/a from byte \d+: attempt \d of 6 failed", line) for line in lines)


def test_slow_bytes_are_given_up_and_asked_for_again(
    store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_bytes("a", DATA)
    proxy.fail("GET", "/a", "slow")
    lines: list[str] = []

    def tell_and_take_time(message: str) -> None:  # the answer that is whole may take long
        lines.append(message)
        monkeypatch.setattr(file_systems, "GRACE_SECONDS", 3600)

    monkeypatch.setattr(file_systems._log, "warning", tell_and_take_time)
    monkeypatch.setattr(file_systems, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(file_systems, "MIN_BYTES_PER_SECOND", 1 << 20)
    assert store.read_bytes("a") == DATA
    (line,) = lines
    assert "attempt 1 of 6 failed (TimeoutError: " in line
    assert " bytes came in " in line


def test_nothing_and_more_than_there_is_are_read_as_what_they_are(store: Store) -> None:
    store.write_bytes("empty", b"")
    store.write_bytes("a", DATA)
    assert store.read_bytes("empty") == b""
    assert store.read_range("a", 5, 0) == b""
    with store.open("a", len(DATA)) as stream:
        assert stream.read() == b""
        stream.seek(-10, io.SEEK_END)
        assert stream.read() == DATA[-10:]
    for begin in (299_990, 300_010):
        with pytest.raises(EndsTooEarlyError, match=r"/a ends at byte 300000, before byte 3000"):
            store.read_range("a", begin, 15)


def test_an_object_that_is_replaced_while_it_is_read_is_an_error_and_no_mixture(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_bytes("a", DATA)
    with store.open("a") as stream:
        assert stream.read(10) == DATA[:10]
        store.write_bytes("a", DATA[::-1])
        monkeypatch.setattr(remote_file, "_IDLE_SECONDS", -1.0)
        with pytest.raises(StoreError, match=r"/a was replaced while it was read"):
            stream.read()


def test_a_forked_process_does_not_take_its_parents_answers(store: Store) -> None:
    store.write_bytes("a", DATA)
    assert store.read_range("a", 0, 10) == DATA[:10]

    def reads(position: int) -> bool:
        return store.open("a", position).read(20_000) == DATA[position:][:20_000]

    children = [forked(partial(reads, 30_000 * number)) for number in range(8)]
    assert store.read_bytes("a") == DATA
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8


def forked(succeeds: Callable[[], bool]) -> int:
    """A child of this process, which ends with 0 or otherwise, and never goes on with the tests."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(300)  # the end of one that hangs in a lock that was taken when it began
            code = int(not succeeds())
        finally:
            os._exit(code)
    return child


class _WithoutRanges(BaseHTTPRequestHandler):
    """An S3 of sorts that answers with the whole object, or with another range."""

    content_range = ""

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.send_response(206 if self.content_range else 200)
        self.send_header("Content-Length", str(len(DATA)))
        if self.content_range:
            self.send_header("Content-Range", self.content_range)
        self.end_headers()
        self.wfile.write(DATA)


@pytest.mark.parametrize("content_range", ["", "bytes 0-299999/300000", "bytes 0-299999/*"])
def test_other_bytes_than_were_asked_for_are_an_error(
    content_range: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_systems, "FIRST_BACKOFF_SECONDS", 0.0)
    handler = type("Handler", (_WithoutRanges,), {"content_range": content_range})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        store = Store("s3://some/where", {"endpoint_url": endpoint, "anon": True})
        with pytest.raises(StoreError, match=r"the server answered with .* from byte 1000 on"):
            store.read_range("a", 1000, 500)
    finally:
        server.shutdown()
        server.server_close()


def test_a_wrong_address_or_setting_is_an_error_at_once(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(IsADirectoryError):
        open_url(f"s3://{BUCKET}")
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    nobody = Store(store.url, {**store.storage_options, "config_kwargs": {"read_timeout": 9}})
    with pytest.raises(StoreAccessError, match="there are no credentials"):
        nobody.read_bytes("a")
    assert caplog.records == []


@pytest.mark.parametrize("fault", ["error", "error after"])
def test_an_upload_that_fails_is_repeated_whole(
    fault: Fault, store: Store, proxy: FaultyProxy
) -> None:
    proxy.fail("PUT", "/a", fault, times=4)
    store.write_bytes("a", DATA)
    assert proxy.plan == []
    assert store.read_bytes("a") == DATA


def test_an_upload_of_several_parts_survives_failing_parts(
    store: Store, proxy: FaultyProxy
) -> None:
    data = np.random.default_rng(2).bytes(120 << 20)  # s3fs sends parts of 50 MB from 100 MB on
    proxy.fail("PUT", "partNumber=2", "error", times=4)
    store.write_bytes("large", data)
    assert store.digest("large") == hashlib.sha256(data).hexdigest()
    assert len(proxy.happened) == 4


def test_a_store_that_never_answers_ends_in_an_error_that_says_what_was_tried(
    store: Store, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_bytes("a", DATA)
    proxy.fail("GET", "/a", "error", times=100)
    with pytest.raises(StoreError, match=r"reading .*/a from byte 0 failed 6 times.*run again"):
        store.read_bytes("a")
    assert len(caplog.records) == 5
    proxy.plan.clear()
    proxy.fail("PUT", "/b", "error", times=100)
    with pytest.raises(StoreError, match=r"writing .*/b failed 6 times"):
        store.write_bytes("b", DATA)
    proxy.plan.clear()
    assert store.list_keys() == ["a"]


def test_a_server_in_trouble_is_no_missing_file(store: Store, proxy: FaultyProxy) -> None:
    store.write_bytes("a", DATA)
    proxy.fail("HEAD", "/a", "error", times=4)
    assert store.exists("a")
    assert not store.exists("b")
    proxy.fail("HEAD", "/a", "error", times=100)
    with pytest.raises(StoreError):
        store.exists("a")
    proxy.plan.clear()
    with pytest.raises(MissingFileError):
        store.open("b")


def test_an_object_that_lost_its_end_on_arrival_is_sent_again(
    store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file_system = store.file_system
    put, sizes, part = file_system._put_file, [1000, len(DATA)], tmp_path / "part"

    async def cut(source: str, target: str, **options: object) -> None:
        part.write_bytes(Path(source).read_bytes()[: sizes.pop(0)])
        await put(str(part), target, **options)

    monkeypatch.setattr(file_system, "_put_file", cut)
    store.write_bytes("a", DATA)
    assert sizes == []
    assert store.read_bytes("a") == DATA


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_recordings_and_manifests_on_a_broken_network_are_read_whole(
    fault: Fault, store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
    store.write_bytes("a.wav", DATA)
    url = f"s3://{store.path('a.wav')}"
    proxy.fail("GET", "/a.wav", fault, times=4)
    assert read_url(url, 1 << 20) == DATA
    proxy.fail("GET", "/a.wav", fault, times=4)
    with open_url(url) as stream:
        assert stream.read() == DATA
    assert proxy.plan == []
