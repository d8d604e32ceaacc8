"""The artifact store: a tree of immutable files on a local folder or any fsspec file system."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from data_contracts.digest import digest_of_stream
from infra.file_lock import lock, try_hold
from infra.storage.file_systems import (
    DISK_FULL,
    open_file_system,
    put_file,
    retried,
    size_of,
)
from infra.storage.local_folders import make_folder
from infra.storage.remote_file import RemoteFile

_PARTIAL = ".partial-"
"""In the name of a local file that is still being written."""


class MissingFileError(FileNotFoundError):
    """A file that an artifact should have is not in the store."""


class DiskFullError(OSError):
    """A disk has no room for a file; nothing of the file is left."""


class Store:
    """A folder of the store. Keys are relative paths with forward slashes.

    A file appears whole or not at all: local files are written under another name and renamed,
    object stores publish an object when its upload ends.
    """

    def __init__(self, url: str, storage_options: dict[str, object] | None = None) -> None:
        """`storage_options`: of the fsspec file system of the URL."""
        self.storage_options = dict(storage_options or {})
        # Other processes write too: a cached listing would hide what they have finished.
        self._fs, self._root = open_file_system(
            url, use_listings_cache=False, **self.storage_options
        )
        self._root = self._root.rstrip("/")
        self.is_local = "file" in self._fs.protocol
        self.url = self._root if self.is_local else self._fs.unstrip_protocol(self._root)

    def __reduce__(self) -> tuple[type["Store"], tuple[str, dict[str, object]]]:
        return Store, (self.url, self.storage_options)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def below(self, *parts: str) -> "Store":
        """Return the folder `parts` below this one."""
        return Store("/".join([self.url, *parts]), self.storage_options)

    def path(self, key: str) -> str:
        """Return the full path of `key`, as the file system spells it."""
        return f"{self._root}/{key}" if key else self._root

    def exists(self, key: str) -> bool:
        """Return whether the file `key` exists."""
        path = self.path(key)
        try:  # fsspec's own answer is "no" also where the store did not answer
            info = retried(self._fs, lambda: self._fs.info(path), f"asking for {path}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        return bool(info["type"] == "file")

    def list_keys(self, prefix: str = "") -> list[str]:
        """Return the keys of all files below `prefix`, sorted."""
        path = self.path(prefix)
        infos = retried(self._fs, lambda: self._fs.find(path, detail=True), f"listing {path}")
        # Of a folder in which nothing is left, s3fs tells the folder itself where the server does.
        names = (name for name, info in infos.items() if info["type"] != "directory")
        return sorted(name[len(self._root) + 1 :] for name in names if _PARTIAL not in name)

    def size(self, key: str) -> int:
        """Return the size of a file in bytes."""
        return size_of(self._fs, self.path(key)) or 0

    def digest(self, key: str) -> str:
        """Return the sha256 of a file's bytes, as 64 hexadecimal characters."""
        with self.open(key) as stream:
            return digest_of_stream(stream)

    def open(self, key: str, begin: int = 0, end: int | None = None) -> BinaryIO:
        """Open a file for reading bytes; its position is `begin`.

        A remote file ends at `end` for its reader, and no more is asked for; a local one is open
        as a whole. Positions are those of the whole file.

        Raises:
            MissingFileError: the file does not exist.
            StoreError: like `RemoteFile`.
        """
        try:
            if self.is_local:
                stream = Path(self.path(key)).open("rb")  # noqa: SIM115
                stream.seek(begin)
                return stream
            return cast(BinaryIO, RemoteFile(self._fs, self.path(key), begin, end))
        except FileNotFoundError as error:
            raise MissingFileError(
                f"{self.path(key)} is not in the store. Run `q2a plan` to see which stage makes it."
            ) from error

    def read_bytes(self, key: str) -> bytes:
        """Read a whole file."""
        with self.open(key) as stream:
            return stream.read()

    def read_range(self, key: str, start: int, size: int) -> bytes:
        """Read `size` bytes from `start` on, fewer only where a local file ends.

        Raises:
            MissingFileError: the file does not exist.
            StoreError: like `open`.
        """
        with self.open(key, start, start + size) as stream:
            return stream.read(size)

    def read_text(self, key: str) -> str:
        """Read a whole file as UTF-8 text."""
        return self.read_bytes(key).decode()

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        """Write a file that appears under `key` only when the block ends without an error.

        Raises:
            DiskFullError: there is no room; nothing of the file is left.
            StoreError: the store failed in every attempt.
        """
        target = self.path(key)
        try:
            with self._create_local(target) if self.is_local else self._upload(target) as stream:
                yield stream
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise DiskFullError(
                error.errno,
                f"there is no room to write {target} ({error.strerror}). Free space there"
                f"{'' if self.is_local else ' or in the folder for temporary files'}, or move the "
                "store (Q2A_HOME, Q2A_STORE), then run again: what is finished is kept",
            ) from error

    @contextmanager
    def _create_local(self, target: str) -> Iterator[BinaryIO]:
        final = Path(target)
        make_folder(final.parent)
        partial, stream = _open_partial(final)
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _upload(self, target: str) -> Iterator[BinaryIO]:
        """Collect the bytes on this machine, so that an upload that fails can be repeated."""
        with TemporaryFile() as buffer:  # it has no name, so a kill leaves nothing of it
            yield cast(BinaryIO, buffer)
            buffer.flush()
            put_file(self._fs, f"/proc/self/fd/{buffer.fileno()}", target, buffer.tell())

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write a whole file, atomically."""
        with self.create(key) as stream:
            stream.write(data)

    def write_text(self, key: str, text: str) -> None:
        """Write a whole file of UTF-8 text, atomically."""
        self.write_bytes(key, text.encode())

    def holds(self, key: str) -> bool:
        """Return whether `key` lies in this folder, also after links are followed."""
        if not self.is_local:
            return True
        folder = Path(self.path(key)).parent.resolve()
        return folder.is_relative_to(Path(self._root).resolve())

    def delete(self, key: str) -> None:
        """Delete a file or folder; do nothing where there is none."""
        path = self.path(key)
        with suppress(FileNotFoundError):
            retried(self._fs, lambda: self._fs.rm(path, recursive=True), f"deleting {path}")

    def delete_partial_files(self) -> None:
        """Delete what killed writers left, where this user may; living ones keep theirs locked."""
        if self.is_local:
            for path in Path(self._root).rglob(f"*{_PARTIAL}*"):
                with suppress(OSError), try_hold(path) as is_dead:
                    if is_dead:
                        path.unlink()

    def upload(self, folder: Path, key: str) -> None:
        """Copy every file below the local `folder` to below `key`."""
        for path, name in files_below(folder, key):
            self.upload_file(path, name)

    def upload_file(self, path: Path, key: str) -> None:
        """Copy a local file to `key`."""
        with path.open("rb") as source, self.create(key) as target:
            shutil.copyfileobj(source, target)

    @contextmanager
    def local_folder(self, key: str, scratch: Path) -> Iterator[Path]:
        """Yield the folder `key` as local files: itself where the store is local, else a copy."""
        if self.is_local:
            yield Path(self.path(key))
            return
        copy = scratch / uuid.uuid4().hex[:8]
        try:
            for name in self.list_keys(key):
                target = copy / Path(name).relative_to(key)
                target.parent.mkdir(parents=True, exist_ok=True)
                with self.open(name) as stream, target.open("wb") as file:
                    shutil.copyfileobj(stream, file)
            yield copy
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    @property
    def file_system(self) -> Any:
        """fsspec file system of the store, for libraries that take one."""
        return self._fs


def files_below(folder: Path, key: str) -> Iterator[tuple[Path, str]]:
    """Yield each file below the local `folder`, sorted by path, and its key below `key`."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path, f"{key}/{path.relative_to(folder).as_posix()}"


def _open_partial(final: Path) -> tuple[Path, BinaryIO]:
    """Create the file that becomes `final`, locked until it is closed."""
    while True:
        path = final.with_name(f"{final.name}{_PARTIAL}{uuid.uuid4().hex[:8]}")
        stream = path.open("xb")
        with suppress(OSError):  # a file system without locks
            if not lock(stream.fileno()) or not path.exists():
                stream.close()  # somebody took it for a dead writer's before it was locked
                continue
        return path, stream
