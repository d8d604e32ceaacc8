"""An outage of Prefect's server is told once, with what happens next, and its end once."""

import threading
from collections.abc import Sequence

from flows.prefect_outage import telling_outages


def told_of(health: Sequence[bool], silence_seconds: float = 0.0) -> list[str]:
    """What is said while the server is there or away, look by look."""
    said: list[str] = []
    looks, seen = iter(health), threading.Event()

    def answers() -> bool:
        for there in looks:
            return there
        seen.set()
        return health[-1]

    with telling_outages(said.append, answers, silence_seconds, every_seconds=0.001):
        assert seen.wait(30)
    return said


def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    away, back = told_of([True, False, False, False, True, True])
    assert away.startswith("Prefect's server has not answered for 0 s; the stage goes on")
    assert away.endswith("`q2a resume` continues it")
    assert back.startswith("Prefect's server answers again after ")


def test_each_outage_is_told() -> None:
    assert len(told_of([False, True, False, False, True])) == 4


def test_a_short_silence_is_not_worth_a_word() -> None:
    assert told_of([True, False, True, False, False, True], silence_seconds=3600) == []
