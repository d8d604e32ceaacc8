"""Lines about the time that is left, on a clock of their own."""

from itertools import count
from types import SimpleNamespace

import pytest

from infra import time_left as module
from infra.time_left import reported, time_left


@pytest.mark.parametrize(
    ("seconds", "num_done", "num_left", "text"),
    [
        (10, 2, 6, "about 0:00:30 left"),
        (7200, 1, 36, "about 3 days, 0:00:00 left"),
        (10, 4, 0, "about 0:00:00 left"),
        (5, 0, 3, "about 0:00:15 left"),
    ],
)
def test_the_rest_takes_as_long_a_piece_as_what_is_done(
    seconds: float, num_done: int, num_left: int, text: str
) -> None:
    assert time_left(seconds, num_done, num_left) == text


def test_a_long_part_reports_every_tenth_and_a_short_one_every_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    clock = count(step=10)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert [*reported(iter("abc"), 3, "shards", "the end", lines.append)] == ["a", "b", "c"]
    assert lines == [
        "shards: 1 of 3, about 0:00:20 left, then the end",
        "shards: 2 of 3, about 0:00:10 left, then the end",
        "shards: 3 of 3, about 0:00:00 left, then the end",
    ]
    lines.clear()
    assert [*reported(range(95), 95, "shards", "the end", lines.append)] == [*range(95)]
    done = [int(line.split()[1]) for line in lines]
    assert done == [10, 19, 29, 38, 48, 57, 67, 76, 86, 95]


def test_nothing_to_do_reports_nothing() -> None:
    lines: list[str] = []
    assert [*reported([], 0, "shards", "the end", lines.append)] == []
    assert lines == []
