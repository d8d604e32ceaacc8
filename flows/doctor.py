"""Checks of what a run needs on this machine, with a remedy for what is missing."""

import shutil
from collections.abc import Callable

import av
import soundfile
from rich.console import Console
from rich.markup import escape

from infra.settings import Settings
from infra.storage.known_stores import open_store
from infra.tracking import Tracking

_FREE_BYTES = 5 << 30
"""Least free space. A demo run leaves about 1 GB; a disk that fills up ends a run half-way."""


def diagnose(settings: Settings, console: Console) -> list[str]:
    """Run all checks, print one line each, and return the problems."""
    problems = []
    for name, check in _CHECKS.items():
        try:
            result = check(settings)
        except Exception as error:
            problems.append(f"{name}: {error}")
            console.print(f"[red]bad[/]  {name}: {escape(str(error))}", highlight=False)
        else:
            console.print(f"[green]good[/] {name}: {escape(result)}", highlight=False)
    return problems


def _store(settings: Settings) -> str:
    store = open_store(settings)
    store.write_bytes("doctor/probe", b"probe")
    if store.read_bytes("doctor/probe") != b"probe":
        raise OSError(f"{store.url} returns other bytes than were written; check the server")
    store.delete("doctor")
    return f"{store.url} can be written and read"


def _tracking(settings: Settings) -> str:
    tracking = Tracking(settings.resolved_tracking_uri, settings.home / "mlartifacts")
    return f"{tracking.uri} answers, {len(tracking.pipelines())} pipeline runs"


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(settings.home).free
    if free < _FREE_BYTES:
        raise OSError(
            f"{free >> 20} MiB are free below {settings.home.resolve()}, {_FREE_BYTES >> 30} GiB "
            "are needed. Free some, or set Q2A_HOME to a folder on another disk."
        )
    return f"{free >> 30} GiB free below {settings.home.resolve()}"


def _audio(_: Settings) -> str:
    opus = soundfile.check_format("OGG", "OPUS")
    if not opus:
        raise OSError("libsndfile has no Opus: install soundfile 0.13 or later from PyPI")
    return f"libsndfile {soundfile.__libsndfile_version__}, FFmpeg through PyAV {av.__version__}"


_CHECKS: dict[str, Callable[[Settings], str]] = {
    "artifact store": _store,
    "tracking": _tracking,
    "disk": _disk,
    "audio decoders": _audio,
}
