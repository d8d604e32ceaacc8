"""The driver's side of a training: it tells what the workers reach and leave as notices."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from infra.storage.store import Store
from tasks.context import StageContext
from tasks.training.messages.notices import Notice, tell_notices

_PROGRESS = "scratch/progress.txt"
_EVERY_SECONDS = 15.0


def reach(directory: Store, text: str) -> None:
    """Leave a line about the position. It is not worth a failure: the next one comes soon."""
    with suppress(Exception):
        directory.write_text(_PROGRESS, text)


@contextmanager
def announcing(context: StageContext) -> Iterator[None]:
    """Tell every few seconds what the workers, whose output goes elsewhere, have to say."""
    ended, last = threading.Event(), ""

    def tell(notice: Notice) -> None:
        context.progress(notice.text)
        with suppress(Exception):  # the log has it, and tracking may be away
            if notice.tags:
                context.logger.tags(notice.tags)
            for name, content in notice.files.items():
                context.logger.text(content, name)
            for name, rows in notice.tables.items():
                context.logger.table(rows, name)

    def look() -> None:
        nonlocal last
        with suppress(Exception):  # the store may be away; the next look finds what this one missed
            tell_notices(context.directory, tell)
            if context.directory.exists(_PROGRESS):
                reached = context.directory.read_text(_PROGRESS)
                if reached != last:
                    context.progress(reached)
                last = reached

    def watch() -> None:
        while not ended.wait(_EVERY_SECONDS):
            look()

    watcher = threading.Thread(target=watch, name="announcing", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        with suppress(Exception):
            tell_notices(context.directory, tell)
