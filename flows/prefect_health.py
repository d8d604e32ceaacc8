"""Prefect's server may be away for a while: the run goes on, and says so in its own words.

This goes around the flow, not into it: an outage delays the flow's own end most.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

from prefect.settings import PREFECT_API_URL

_ANSWER_SECONDS = 5.0


def prefect_answers() -> bool:
    """Whether the server of this process's Prefect is there; its own ephemeral one is.

    Prefect's own client would try again for minutes before it says no.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return True
    try:
        with urlopen(f"{url}/health", timeout=_ANSWER_SECONDS):
            return True
    except HTTPError:
        return True  # whatever it says, it is there
    except (OSError, HTTPException):
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
        watcher.join(1.0)  # what it is saying comes before what follows
