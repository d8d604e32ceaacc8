"""The files of an unpacked corpus, on this machine or in any fsspec store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from data_contracts.errors import DataError
from infra.storage.file_systems import open_file_system
from infra.storage.source_files import open_url
from tasks.recordings.locations import resolve

_MAX_JSON_BYTES = 1 << 26
"""Largest document that is parsed whole, which takes several times its bytes of memory. The longest
published lists of that kind, AIR-Bench's questions, have some tens of megabytes."""


class CorpusError(DataError, ValueError):
    """A folder does not have the published layout of the corpus; says what is missing where."""


class CorpusFiles:
    """The files below the folder into which a corpus was unpacked. Keys are relative paths."""

    def __init__(self, root: str) -> None:
        """Open the root of a corpus.

        Args:
            root: folder or fsspec URL.
        """
        self._fs, self._root = open_file_system(root)
        self._root = self._root.rstrip("/")
        self.is_local = "file" in self._fs.protocol

    @property
    def name(self) -> str:
        """Name of the root folder itself."""
        return str(self._root.rsplit("/", 1)[-1])

    def location(self, key: str) -> str:
        """Path or URL of a file, for a row's `audio`."""
        path = f"{self._root}/{key}"
        return path if self.is_local else str(self._fs.unstrip_protocol(path))

    def resolve(self, path: str) -> str:
        """Path or URL that a table names; a relative one starts from the root."""
        return resolve(self.location("").removesuffix("/"), path)

    def names(self, folder: str = "", *, below: bool = False) -> list[str]:
        """List the keys of the files in a folder, or of all below it, sorted.

        Raises:
            CorpusError: there is no such folder.
        """
        path = f"{self._root}/{folder}".rstrip("/")
        if not self._fs.isdir(path):
            raise CorpusError(_missing(path, "folder"))
        paths = self._fs.find(path, maxdepth=None if below else 1)
        return sorted(str(path)[len(self._root) + 1 :] for path in paths)

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """Open a file for reading bytes.

        Raises:
            CorpusError: there is no such file.
        """
        try:
            stream = open_url(self.location(key))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise CorpusError(_missing(f"{self._root}/{key}", "file")) from error
        with stream:
            yield stream

    def json(self, key: str) -> Any:
        """Read a JSON document.

        Raises:
            CorpusError: there is no such file, or it is not JSON, or it is too large for a list.
        """
        with self.open(key) as stream:
            text = stream.read(_MAX_JSON_BYTES + 1)
        if len(text) > _MAX_JSON_BYTES:
            raise CorpusError(
                f"{self.location(key)} has over {_MAX_JSON_BYTES} bytes; lists of a corpus are "
                "read whole and are smaller. Is it the file that --list describes? "
                "Download it again."
            )
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{self.location(key)} is not JSON: {error}. Unpack the corpus again."
            ) from error


def _missing(path: str, kind: str) -> str:
    return (
        f"there is no {kind} {path}. Give the folder into which the corpus was unpacked, with the "
        "layout that `q2a ingest --list --json` describes, and name the splits that are there: "
        "--data NAME:SPLIT,SPLIT=ROOT."
    )
