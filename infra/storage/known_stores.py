"""Opens the configured store, unless its disk seems to be missing.

A disk that is not mounted leaves an empty folder in its place, and whatever is written there hides
when it is back. So a home remembers each local store in which it saw artifacts.
"""

from contextlib import suppress
from pathlib import Path

from data_contracts.digest import digest_of
from data_contracts.errors import UsageError
from infra.settings import Settings
from infra.storage.store import Store

_FOLDER = "known-stores"


class MissingStoreError(UsageError, FileNotFoundError):
    """A local store is not where it was, or where it could be made."""


def open_store(settings: Settings) -> Store:
    """Open the configured store; one that is new is made by whatever is written to it first.

    Raises:
        MissingStoreError: a store that had artifacts is empty or gone, or there is no folder in
            which a new one could be made.
    """
    store = Store(settings.store_url, settings.storage_options)
    folder = Path(store.path(""))
    if store.is_local and not folder.is_relative_to(settings.home):  # else both would be gone
        _refuse_missing(folder, settings.home / _FOLDER / digest_of(str(folder)))
    return store


def _refuse_missing(folder: Path, memory: Path) -> None:
    if folder.is_dir() and any(path.is_dir() for path in folder.iterdir()):
        with suppress(OSError):  # a home that can't be written can't remember
            memory.parent.mkdir(exist_ok=True)
            memory.write_text(f"{folder}\n")
    elif memory.exists():
        raise MissingStoreError(
            f"the store {folder} had artifacts and is empty or gone: is its disk mounted? If you "
            f"emptied it yourself, delete {memory} to begin anew."
        )
    elif not folder.parent.is_dir():
        raise MissingStoreError(
            f"there is no folder {folder.parent} in which the store {folder.name!r} could be made: "
            "is its disk mounted? Make the folder, or correct Q2A_STORE."
        )
