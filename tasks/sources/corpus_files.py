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
"""Of a document that is parsed whole, into several times its bytes of memory. The longest lists
that are published so, AIR-Bench's questions, have some tens of megabytes."""


class CorpusError(DataError, ValueError):
    """A folder is not laid out as the corpus is published; says what is missing where."""


class CorpusFiles:
    """The files below the folder into which a corpus was unpacked. Keys are relative paths."""

    def __init__(self, root: str) -> None:
        """Args: root: folder or fsspec URL."""
        self._fs, self._root = open_file_system(root)
        self._root = self._root.rstrip("/")
        self.is_local = "file" in self._fs.protocol

    @property
    def name(self) -> str:
        """Of the root folder itself."""
        return str(self._root.rsplit("/", 1)[-1])

    def place(self, key: str) -> str:
        """The path or URL of a file, as a row's `audio`."""
        path = f"{self._root}/{key}"
        return path if self.is_local else str(self._fs.unstrip_protocol(path))

    def resolve(self, path: str) -> str:
        """The same of a path that a table names: a relative one starts from the root."""
        return resolve(self.place("").removesuffix("/"), path)

    def names(self, folder: str = "", *, below: bool = False) -> list[str]:
        """Keys of the files in a folder, or of all below it, sorted.

        Raises:
            CorpusError: there is no such folder.
        """
        path = f"{self._root}/{folder}".rstrip("/")
        if not self._fs.isdir(path):
            raise CorpusError(_missing(path, "folder"))
        found = self._fs.find(path, maxdepth=None if below else 1)
        return sorted(str(name)[len(self._root) + 1 :] for name in found)

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """Open a file for reading bytes.

        Raises:
            CorpusError: it is not there.
        """
        try:
            stream = open_url(self.place(key))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise CorpusError(_missing(f"{self._root}/{key}", "file")) from error
        with stream:
            yield stream

    def json(self, key: str) -> Any:
        """A JSON document.

        Raises:
            CorpusError: there is no such file, it is no JSON, or too large to be a table.
        """
        with self.open(key) as stream:
            text = stream.read(_MAX_JSON_BYTES + 1)
        if len(text) > _MAX_JSON_BYTES:
            raise CorpusError(
                f"{self.place(key)} has over {_MAX_JSON_BYTES} bytes, more than any list of a "
                "corpus that is read whole. Is it the file that --list describes? Download it "
                "again."
            )
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{self.place(key)} is not JSON: {error}. Unpack the corpus again."
            ) from error


def _missing(path: str, kind: str) -> str:
    return (
        f"there is no {kind} {path}. Give the folder into which the corpus was unpacked, with the "
        "layout that `q2a ingest --list --json` describes, and name the splits that are there: "
        "--corpus NAME:SPLIT,SPLIT=ROOT."
    )
