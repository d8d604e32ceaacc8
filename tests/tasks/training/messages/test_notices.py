"""Notices: from any rank through the store to the driver, each told once."""

import threading
from pathlib import Path

import pytest

from infra.storage.store import Store
from tasks.training.messages.notices import Errands, Notice, Notices, deliver_notices
from tests.support.clock import Clock


def test_notices_of_all_ranks_are_told_in_order_and_once(tmp_path: Path) -> None:
    store, told = Store(str(tmp_path)), list[Notice]()
    first = Notice("one", {"q2a.x": "1"}, {"x.txt": "content"})
    Notices(store, rank=1)(first)
    Notices(store, rank=0).progress("two")
    deliver_notices(store, told.append)
    deliver_notices(store, told.append)
    assert told == [first, Notice("two")]


def test_a_store_that_takes_no_notice_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.retry.time", Clock())
    (tmp_path / "scratch").write_text("a file where the folder should be")
    Notices(Store(str(tmp_path)), rank=0).progress("the loss is nan")
    assert "the loss is nan (not in the store: " in capsys.readouterr().err


def test_an_errand_that_hangs_delays_other_errands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.messages.notices._GRACE_SECONDS", 0.1)
    hangs, released, done = threading.Event(), threading.Event(), list[int]()

    def hang() -> None:
        hangs.set()
        released.wait()

    with Errands() as errands:
        errands(lambda: done.append(1))
        errands(lambda: errands(lambda: done.append(99)))  # an errand's own errand is left undone
        errands(hang)
        errands(lambda: done.append(2))
        assert hangs.wait(300)
    assert done == [1]
    released.set()


@pytest.mark.parametrize(
    ("damaged", "shown"),
    [(b'{"text": "hal', '{"text": "hal'), (b'{"te\xf8t": ""}', '{"te\ufffdt": ""}')],
)
def test_a_damaged_notice_hides_no_later_one(tmp_path: Path, damaged: bytes, shown: str) -> None:
    store, told = Store(str(tmp_path)), list[str]()
    store.write_bytes("scratch/notices/0-0.json", damaged)
    Notices(store, rank=0).progress("whole")
    deliver_notices(store, lambda notice: told.append(notice.text))
    assert told == [f"a worker's notice can't be read: {shown}", "whole"]
