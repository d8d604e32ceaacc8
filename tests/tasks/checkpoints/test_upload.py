"""Uploads beside the training: order, waiting, failure."""

import threading
from collections.abc import Callable

import pytest

from tasks.checkpoints.upload import Uploader, UploadError


def test_training_does_not_wait_for_the_first_upload_but_for_the_one_before_the_second() -> None:
    release, done = threading.Event(), []

    def slow() -> None:
        assert release.wait(20)
        done.append("first")

    with Uploader() as uploader:
        uploader.submit(slow)
        uploader.check()
        assert done == []
        second = threading.Thread(target=uploader.submit, args=(lambda: done.append("second"),))
        second.start()
        second.join(0.1)
        assert second.is_alive(), "the second upload must wait for the first"
        release.set()
        second.join(20)
    assert done == ["first", "second"]


def test_the_end_waits_for_everything() -> None:
    done = []
    pause = threading.Event()
    with Uploader() as uploader:
        uploader.submit(lambda: pause.wait(0.2) or done.append(1))
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
        for _ in range(1000):
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
