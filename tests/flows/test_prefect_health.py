"""An outage of Prefect's server is reported once, with what happens next, and its end once."""

import socket
import threading
from collections.abc import Sequence

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.prefect_health import OutageWatch, prefect_answers
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("flows.prefect_health.time", clock)
    return clock


def reports_of(clock: Clock, health: Sequence[bool], silence_seconds: float = 0.0) -> list[str]:
    """Return what is reported while the server is there or away, at looks five seconds apart."""
    lines: list[str] = []
    answers = iter(health)
    watch = OutageWatch(lines.append, lambda: next(answers), silence_seconds)
    for _ in health:
        clock.sleep(5)
        watch.look()
    return lines


def test_an_outage_is_reported_once_and_so_is_its_end(clock: Clock) -> None:
    away, back = reports_of(clock, [True, False, False, False, True, True])
    assert away.startswith("Prefect's server has not answered for 5 s; the stage goes on")
    assert away.endswith("`q2a resume` continues it")
    assert back == "Prefect's server answers again after 20 s"


def test_each_outage_is_reported(clock: Clock) -> None:
    assert len(reports_of(clock, [False, True, False, False, True])) == 4


def test_a_short_silence_is_not_reported(clock: Clock) -> None:
    health = [True, False, True, False, False, True]
    assert reports_of(clock, health, silence_seconds=11) == []
    assert len(reports_of(clock, health, silence_seconds=10)) == 2


def test_the_server_is_watched_while_the_context_is_open() -> None:
    reported = threading.Event()
    watch = OutageWatch(lambda _: reported.set(), lambda: False, silence_seconds=0.0)
    with watch.every(0.001):
        assert reported.wait(60)


def test_a_server_that_accepts_and_stays_mute_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.prefect_health._ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            assert not prefect_answers()
