"""Uploads beside the training, which waits only where the upload before is still under way."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from infra.retry import FinalError, error_text


class UploadError(FinalError):
    """A training state did not reach the store, although it was tried for long."""


class Uploader:
    """Runs one upload at a time in a thread; leaving its context waits for the last one."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            self.flush()

    def submit(self, upload: Callable[[], None]) -> None:
        """Start an upload, after the one before.

        Raises:
            UploadError: the one before failed for good.
        """
        self.flush()
        self._pending = self._pool.submit(upload)

    def check(self) -> None:
        """Raise the error of an upload that has failed by now; does not wait.

        Raises:
            UploadError: it failed for good.
        """
        if self._pending is not None and self._pending.done():
            self.flush()

    def flush(self) -> None:
        """Wait until everything is uploaded.

        Raises:
            UploadError: an upload failed for good.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except Exception as error:
            notes = "; ".join(getattr(error, "__notes__", []))
            raise UploadError(
                f"a training state can't be saved: {error_text(error)} ({notes}). "
                "Training stops, because nothing that it does from here would survive. Repair the "
                "store and run the same command again: it continues from the last whole state."
            ) from error
