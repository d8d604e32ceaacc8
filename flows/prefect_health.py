"""Watch over Prefect's server: a run goes on while the server is away, and reports that it is.

The watch goes around the flow, not into it: an outage delays the flow's own end most.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

from prefect.settings import PREFECT_API_URL

from infra.background import Periodic

_ANSWER_SECONDS = 5.0


def prefect_answers() -> bool:
    """Return whether this process's Prefect server answers; True where none is named.

    Prefect's own client would retry for minutes before it gives up.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return True
    try:
        with urlopen(f"{url}/health", timeout=_ANSWER_SECONDS):
            return True
    except HTTPError:
        return True  # an error is an answer
    except (OSError, HTTPException):
        return False


@dataclass
class OutageWatch:
    """Reports each outage of Prefect's server once, and its end once."""

    progress: Callable[[str], None]
    answers: Callable[[], bool] = prefect_answers
    silence_seconds: float = 10.0
    """Shortest silence that is reported."""
    _last_answer: float = field(init=False)
    _reported: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._last_answer = time.monotonic()

    def look(self) -> None:
        """Ask the server once, and report an outage that is new or over."""
        answers, silence = self.answers(), time.monotonic() - self._last_answer
        if answers:
            if self._reported:
                self.progress(f"Prefect's server answers again after {silence:.0f} s")
            self._reported = False
            self._last_answer = time.monotonic()
        elif not self._reported and silence >= self.silence_seconds:
            self.progress(
                f"Prefect's server has not answered for {silence:.0f} s; the stage goes on, and "
                "its end waits some minutes for the server. If the run fails for that, "
                "`q2a resume` continues it"
            )
            self._reported = True

    def every(self, seconds: float = 5.0) -> Periodic:
        """Look every so many seconds while the context that is returned is open."""
        return Periodic("prefect outages", seconds, self.look, join_seconds=1.0)
