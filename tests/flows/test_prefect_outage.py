"""An outage of Prefect's server is told once, with what happens next, and its end once."""

import socket
import threading
import time
from collections.abc import Sequence

from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.prefect_outage import prefect_answers, telling_outages


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


def test_a_server_that_accepts_and_stays_mute_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            began = time.monotonic()
            assert not prefect_answers()
            assert time.monotonic() - began < 60  # Prefect's own patience is minutes
