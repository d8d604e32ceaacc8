"""An outage of Prefect's server is told once, with what happens next, and its end once."""

import socket
import threading
from collections.abc import Sequence

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.prefect_health import prefect_answers, telling_outages
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("flows.prefect_health.time", found)
    return found


def told_of(clock: Clock, health: Sequence[bool], silence_seconds: float = 0.0) -> list[str]:
    """What is said while the server is there or away, at looks five seconds apart."""
    said: list[str] = []
    looks, seen = iter(health), threading.Event()

    def answers() -> bool:
        clock.sleep(5)
        for there in looks:
            return there
        seen.set()
        return health[-1]

    with telling_outages(said.append, answers, silence_seconds, every_seconds=0.001):
        assert seen.wait(300)
    return said


def test_an_outage_is_told_once_and_so_is_its_end(clock: Clock) -> None:
    away, back = told_of(clock, [True, False, False, False, True, True])
    assert away.startswith("Prefect's server has not answered for 5 s; the stage goes on")
    assert away.endswith("`q2a resume` continues it")
    assert back == "Prefect's server answers again after 20 s"


def test_each_outage_is_told(clock: Clock) -> None:
    assert len(told_of(clock, [False, True, False, False, True])) == 4


def test_a_short_silence_is_not_worth_a_word(clock: Clock) -> None:
    health = [True, False, True, False, False, True]
    assert told_of(clock, health, silence_seconds=11) == []
    assert len(told_of(clock, health, silence_seconds=10)) == 2


def test_a_server_that_accepts_and_stays_mute_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.prefect_health._ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            assert not prefect_answers()
