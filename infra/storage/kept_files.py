"""Work that a stage keeps to continue with: files and folders that are believed by content alone.

Beside each lies its digest, below `scratch/` and written last. Without one, or with another, the
work is not there: whoever asks makes it again.
"""

from collections.abc import Callable
from pathlib import Path

from data_contracts.digest import digest_of, digest_of_bytes
from data_contracts.stage_record import SCRATCH
from infra.storage.store import Store


def write_kept(directory: Store, key: str, data: bytes) -> None:
    """Write a file and then its digest."""
    directory.write_bytes(key, data)
    _write_digest(directory, key, digest_of_bytes(data))


def upload_kept(directory: Store, folder: Path, key: str) -> None:
    """Replace the folder `key` by a copy of the local `folder`; then write its digest."""
    directory.delete(key)
    directory.upload(folder, key)
    _write_digest(directory, key, _digest_of_folder(Store(str(folder))))


def keep_folder(directory: Store, key: str) -> None:
    """Write the digest of a folder that is finished."""
    _write_digest(directory, key, _digest_of_folder(directory.below(key)))


def is_kept(directory: Store, key: str, progress: Callable[[str], None]) -> bool:
    """Return whether a file or folder is what its digest says, and report one that is not."""
    digest_key = _digest_key(key)
    if not directory.exists(digest_key):
        return False
    is_file = directory.exists(key)
    digest = directory.digest(key) if is_file else _digest_of_folder(directory.below(key))
    if directory.read_bytes(digest_key) == digest.encode():
        return True
    progress(f"{key} is not what was kept (lost, cut off or changed): it is made again")
    return False


def _digest_key(key: str) -> str:
    """Return the key of a digest, which is never a part of the finished artifact."""
    return f"{SCRATCH}{key.removeprefix(SCRATCH)}.sha256"


def _write_digest(directory: Store, key: str, digest: str) -> None:
    directory.write_text(_digest_key(key), digest)


def _digest_of_folder(folder: Store) -> str:
    """Digest the names and bytes of all files of a folder."""
    return digest_of({key: folder.digest(key) for key in folder.list_keys()})
