"""Uploads beside the training: order, waiting, failure."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tasks.training.checkpoints.upload import Uploader, UploadError


def test_training_does_not_wait_for_the_first_upload_but_for_the_one_before_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, done = threading.Event(), []
    plain = Future.result

    def result(waited_for: Future[None]) -> None:
        release.set()
        plain(waited_for)

    monkeypatch.setattr(Future, "result", result)

    def slow() -> None:
        assert release.wait(300), "nobody waits for the first upload"
        done.append("first")

    with Uploader() as uploader:
        uploader.submit(slow)
        uploader.check()
        assert done == []
        uploader.submit(lambda: done.append("second"))
    assert done == ["first", "second"]


def test_the_end_waits_for_everything() -> None:
    done: list[int] = []

    def finish_later() -> None:
        threading.Event().wait(0.2)
        done.append(1)

    with Uploader() as uploader:
        uploader.submit(finish_later)
    assert done == [1]


def fail() -> None:
    raise OSError("bucket is gone")


def upload_twice() -> None:
    with Uploader() as uploader:
        uploader.submit(fail)
        uploader.submit(lambda: pytest.fail("it must not begin"))


def notice_soon() -> None:
    with Uploader() as uploader:
        uploader.submit(fail)
        for _ in range(30_000):
            uploader.check()
            threading.Event().wait(0.01)
        pytest.fail("nobody noticed")


def notice_at_the_end() -> None:
    with Uploader() as uploader:
        uploader.submit(fail)


@pytest.mark.parametrize("run", [upload_twice, notice_soon, notice_at_the_end])
def test_an_upload_that_fails_for_good_stops_the_run(run: Callable[[], None]) -> None:
    with pytest.raises(UploadError, match=r"bucket is gone.*Repair the store and run the same"):
        run()


def diverge_during_an_upload() -> None:
    with Uploader() as uploader:
        uploader.submit(fail)
        raise FloatingPointError


def test_an_error_of_the_training_is_not_replaced_by_one_of_an_upload() -> None:
    with pytest.raises(FloatingPointError):
        diverge_during_an_upload()
