"""Notices: from any rank through the store to the driver, each told once."""

from pathlib import Path

import pytest

from infra.store import Store
from tasks.notices import Notice, Notices, tell_notices


def test_notices_of_all_ranks_are_told_in_order_and_once(tmp_path: Path) -> None:
    store, told = Store(str(tmp_path)), list[Notice]()
    first = Notice("one", {"q2a.x": "1"}, {"x.txt": "content"})
    Notices(store, rank=1)(first)
    Notices(store, rank=0).say("two")
    tell_notices(store, told.append)
    tell_notices(store, told.append)
    assert told == [first, Notice("two")]


def test_a_store_that_takes_no_notice_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scratch").write_text("a file where the folder should be")
    Notices(Store(str(tmp_path)), rank=0).say("the loss is nan")
    assert "the loss is nan (not in the store: " in capsys.readouterr().err
