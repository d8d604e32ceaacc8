"""Reading the tables of an unpacked corpus, on this machine or in any fsspec store."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, BinaryIO, NamedTuple

from data_contracts.records import Rejected
from infra.remote import open_file_system
from infra.source_files import open_url
from infra.tar_reader import Refused, TarError, scan_tar

_MOST_BYTES = 1 << 17
"""Of one line or one small text: no label of a recording is longer."""


class CorpusError(ValueError):
    """A folder is not laid out as the corpus is published; says what is missing where."""


class TarMember(NamedTuple):
    """Where a member's bytes lie in an uncompressed tar."""

    name: str
    begin_byte: int
    num_bytes: int


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

    def lines(self, key: str) -> Iterator[str]:
        """The lines of a UTF-8 text that are not blank, without their ends.

        Raises:
            CorpusError: there is no such file, or it is no such text.
        """
        for number, raw in self._raw_lines(key):
            try:
                line = raw.decode("utf-8-sig").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise self._unreadable(key, number, error) from error
            if line.strip():
                yield line

    def table(
        self,
        key: str,
        columns: Sequence[str],
        *,
        header: bool = True,
        encoding: str = "utf-8-sig",
        **dialect: Any,
    ) -> Iterator[dict[str, str]]:
        """The rows of a CSV file by column name; with `delimiter="\\t"` and such of a TSV file.

        Args:
            columns: that must be there; without a header, all columns in their order.

        Raises:
            CorpusError: there is no such file, a column is missing, or a row is no row.
        """
        text = (raw.decode(encoding) for _, raw in self._raw_lines(key))
        reader = csv.DictReader(text, None if header else columns, strict=True, **dialect)
        try:
            found = reader.fieldnames or ()
            if absent := [column for column in columns if column not in found]:
                raise CorpusError(
                    f"{self.place(key)} has the columns {', '.join(found)}; {absent} are missing. "
                    "Is this the version of the corpus that --list describes?"
                )
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise self._unreadable(key, reader.line_num, "it has too few columns")
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._unreadable(key, reader.line_num + 1, error) from error

    def _raw_lines(self, key: str) -> Iterator[tuple[int, bytes]]:
        """The lines of a file with their numbers from 1, none of them longer than is sane."""
        with self.open(key) as stream:
            for number in count(1):
                line = stream.readline(_MOST_BYTES + 1)
                if not line:
                    return
                if len(line) > _MOST_BYTES:
                    raise self._unreadable(key, number, f"it has over {_MOST_BYTES} bytes")
                yield number, line

    def _unreadable(self, key: str, number: int, why: object) -> CorpusError:
        return CorpusError(
            f"line {number} of {self.place(key)} can't be read: {why}. Unpack the corpus again."
        )

    def json(self, key: str) -> Any:
        """A JSON document.

        Raises:
            CorpusError: there is no such file, or it is no JSON.
        """
        with self.open(key) as stream:
            try:
                return json.load(stream)
            except (ValueError, RecursionError) as error:
                raise CorpusError(
                    f"{self.place(key)} is not JSON: {error}. Unpack the corpus again."
                ) from error

    def tar_members(self, key: str) -> Iterator[TarMember | Rejected]:
        """Where the plain files of an uncompressed tar lie, in their order, and what is no such
        file: links, devices, names that lead out.

        Raises:
            CorpusError: there is no such file, or it is compressed, cut off or no tar.
        """
        with self.open(key) as stream:
            try:
                for member in scan_tar(stream):
                    if isinstance(member, Refused):
                        detail = f"in {self.place(key)}: {member.rule}"
                        yield Rejected(id=member.name, reason="refused_member", detail=detail)
                    else:
                        yield TarMember(member.name, member.offset, member.size)
            except TarError as error:
                raise CorpusError(f"{self.place(key)} is no plain tar: {error}") from error

    def bytes_of(self, key: str, member: TarMember) -> bytes:
        """The bytes of a small text in a tar.

        Raises:
            CorpusError: it is no small text.
        """
        if member.num_bytes > _MOST_BYTES:
            raise CorpusError(
                f"{member.name!r} in {self.place(key)} has {member.num_bytes} bytes: no text of "
                "one recording. Remove it from the tar."
            )
        with self.open(key) as stream:
            stream.seek(member.begin_byte)
            return stream.read(member.num_bytes)


def _missing(path: str, kind: str) -> str:
    return (
        f"there is no {kind} {path}. Give the folder into which the corpus was unpacked, with the "
        "layout that `q2a ingest --list --json` describes, and name the splits that are there: "
        "--corpus NAME:SPLIT,SPLIT=ROOT."
    )
