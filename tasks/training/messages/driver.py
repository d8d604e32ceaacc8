"""The driver's side of a training: it shows what the workers reach and leave as notices."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from infra.background import Periodic
from infra.storage.store import Store
from tasks.context import StageContext
from tasks.training.messages.notices import Notice, deliver_notices

_PROGRESS = "scratch/progress.txt"
_EVERY_SECONDS = 15.0


def reach(directory: Store, text: str) -> None:
    """Leave a line about the position. It is not worth a failure: the next one comes soon."""
    with suppress(Exception):
        directory.write_text(_PROGRESS, text)


@contextmanager
def announcing(context: StageContext) -> Iterator[None]:
    """Show every few seconds what the workers report, whose own output goes elsewhere."""
    shown = ""

    def show(notice: Notice) -> None:
        context.progress(notice.text)
        with suppress(Exception):  # the log has it, and tracking may be away
            if notice.tags:
                context.logger.tags(notice.tags)
            for name, content in notice.files.items():
                context.logger.text(content, name)
            for name, rows in notice.tables.items():
                context.logger.table(rows, name)

    def look() -> None:
        nonlocal shown
        with suppress(Exception):  # the store may be away; the next look finds what this one missed
            deliver_notices(context.directory, show)
            if context.directory.exists(_PROGRESS):
                line = context.directory.read_text(_PROGRESS)
                if line != shown:
                    context.progress(line)
                shown = line

    try:
        with Periodic("announcing", _EVERY_SECONDS, look):
            yield
    finally:
        with suppress(Exception):
            deliver_notices(context.directory, show)
