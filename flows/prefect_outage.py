"""Prefect's server may be away for a while: the run goes on, and says so in its own words.

This goes around the flow, not into it: an outage delays the flow's own end most.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect import get_client
from prefect.settings import PREFECT_API_URL


def prefect_answers() -> bool:
    """Whether the server of this process's Prefect is there; its own ephemeral one is."""
    if not PREFECT_API_URL.value():
        return True
    try:
        with get_client(sync_client=True) as client:
            return client.api_healthcheck() is None
    except Exception:  # while it goes or comes, anything can happen
        return False


@contextmanager
def telling_outages(
    say: Callable[[str], None],
    answers: Callable[[], bool] = prefect_answers,
    silence_seconds: float = 10.0,
    every_seconds: float = 5.0,
) -> Iterator[None]:
    """Ask now and then, beside the run; `silence_seconds`: being away for less is not worth a word.

    Each outage is told once, and once that it is over.
    """
    ended = threading.Event()

    def watch() -> None:
        last, told = time.monotonic(), False
        while not ended.wait(every_seconds):
            there, away = answers(), time.monotonic() - last
            if told and there:
                say(f"Prefect's server answers again after {away:.0f} s")
                told = False
            elif not told and not there and away >= silence_seconds:
                say(
                    f"Prefect's server has not answered for {away:.0f} s; the stage goes on, and "
                    "its end waits some minutes for the server. If the run fails for that, "
                    "`q2a resume` continues it"
                )
                told = True
            last = time.monotonic() if there else last

    watcher = threading.Thread(target=watch, name="prefect outages", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
