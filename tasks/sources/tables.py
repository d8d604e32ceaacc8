"""Reads tables of text; a line that can't be read is rejected alone and does not cost the table.

Wordings of rejected lines are part of a source's digest (`manifest.source_digest`): they stay.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol, TypeVar

from data_contracts.records import Rejected
from tasks.sources.corpus_files import CorpusError, CorpusFiles

T = TypeVar("T")
U = TypeVar("U")
MAX_TEXT_BYTES = 1 << 17
"""Longest line or small text: no label of a recording is longer."""
_MAX_BAD_LINES = 1000
"""Unreadable lines in a row after which the file can't be the table."""


def map_rows(
    rows: Iterable[T | Rejected], make: Callable[[T], Iterable[U]]
) -> Iterator[U | Rejected]:
    """Pass each row through `make`, which yields none, one or several; a rejected one stays."""
    for row in rows:
        if isinstance(row, Rejected):
            yield row
        else:
            yield from make(row)


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def readline(self, size: int, /) -> bytes:
        """The next line, or its first `size` bytes."""


def read_lines(files: CorpusFiles, key: str) -> Iterator[str | Rejected]:
    """Read the lines of a UTF-8 text that are not blank, without their ends.

    Raises:
        CorpusError: there is no such file.
    """
    with files.open(key) as stream:
        lines = (line for _, line in numbered_lines(stream, key))
        yield from map_rows(lines, lambda line: [line.rstrip("\r\n")] if line.strip() else [])


def read_pairs(files: CorpusFiles, key: str) -> Iterator[tuple[str, str] | Rejected]:
    """Read lines of a unique name and a value: the first word of each line and the rest of it.

    Raises:
        CorpusError: there is no such file.
    """
    names = set()
    with files.open(key) as stream:
        for number, line in numbered_lines(stream, key):
            if isinstance(line, Rejected):
                yield line
            elif words := line.split(maxsplit=1):
                if words[0] in names:
                    yield _rejected(key, number, f"an earlier line is about {words[0]!r} too")
                    continue
                names.add(words[0])
                yield words[0], words[1].rstrip() if len(words) > 1 else ""


def read_into(table: dict[str, str], files: CorpusFiles, key: str) -> Iterator[Rejected]:
    """Fill a table with all pairs of a file; yield the lines that are rejected.

    Raises:
        CorpusError: there is no such file.
    """
    for pair in read_pairs(files, key):
        if isinstance(pair, Rejected):
            yield pair
        else:
            table[pair[0]] = pair[1]


def read_table(
    files: CorpusFiles,
    key: str,
    columns: Sequence[str],
    *,
    header: bool = True,
    encoding: str = "utf-8-sig",
    **dialect: Any,
) -> Iterator[dict[str, str] | Rejected]:
    """Read the rows of a CSV file by column name; with `delimiter="\\t"` and such of a TSV file.

    Args:
        columns: required columns; without a header, all columns in their order.

    Raises:
        CorpusError: there is no such file, a column is missing, or unpaired quotation marks leave
            it open where the next row begins.
    """
    lines = _Lines(files, key, encoding)
    reader = csv.reader(lines, strict=True, **dialect)
    try:
        names = next(reader, []) if header else list(columns)
    except csv.Error as error:
        raise CorpusError(f"the header of {files.location(key)} can't be read: {error}.") from error
    yield from lines.take_bad()
    if absent := [column for column in columns if column not in names]:
        raise CorpusError(
            f"{files.location(key)} has the columns {', '.join(names)[:500]}; {absent} are "
            "missing. Is this the version of the corpus that --list describes?"
        )
    is_quoted = dialect.get("quoting") != csv.QUOTE_NONE
    for fields, why in _parsed(reader, lines, files.location(key), is_quoted):
        yield from lines.take_bad()
        if fields and not why and len(fields) != len(names):
            why = f"it has {len(fields)} columns, the table has {len(names)}"
        if why:
            yield _rejected(key, lines.number, why)
        elif fields:
            yield dict(zip(names, fields, strict=True))
    yield from lines.take_bad()


def _parsed(
    reader: Iterator[list[str]], lines: "_Lines", path: str, is_quoted: bool
) -> Iterator[tuple[list[str], str]]:
    """Fields of each row, and why it is rejected, if it is.

    Raises:
        CorpusError: a row with quotation marks can't be parsed, so nobody knows where it ends.
    """
    while True:
        why = ""
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if is_quoted:
                raise CorpusError(
                    f"line {lines.number} of {path} can't be read: {error}. Unpack the corpus "
                    "again."
                ) from error
            fields, why = [], str(error)
        yield fields, "a line within it can't be read" if lines.is_torn else why


def numbered_lines(
    stream: Readable, key: str, encoding: str = "utf-8-sig", max_bytes: int = MAX_TEXT_BYTES
) -> Iterator[tuple[int, str | Rejected]]:
    """Read the lines of a file with their numbers from 1; those over `max_bytes` are rejected."""
    for number in count(1):
        line = stream.readline(max_bytes + 1)
        if not line:
            return
        if len(line) > max_bytes:
            while line and not line.endswith(b"\n"):
                line = stream.readline(max_bytes + 1)
            yield number, _rejected(key, number, f"it has over {max_bytes} bytes")
            continue
        try:
            text: str | Rejected = line.decode(encoding)
        except UnicodeDecodeError as error:
            text = _rejected(key, number, str(error))
        yield number, text


class _Lines:
    """Lines of a table for `csv`; unreadable ones wait until the row they belong to is complete."""

    def __init__(self, files: CorpusFiles, key: str, encoding: str) -> None:
        self._files, self._key, self._encoding = files, key, encoding
        self._bad: list[Rejected] = []
        self._has_begun = False
        self.number = 0
        """Number of the last line that was read."""
        self.is_torn = False
        """Whether an unreadable line followed a good one of the same row."""

    def __iter__(self) -> Iterator[str]:
        with self._files.open(self._key) as stream:
            for number, line in numbered_lines(stream, self._key, self._encoding):
                self.number = number
                if not isinstance(line, Rejected):
                    self._has_begun = True
                    yield line
                    continue
                self._bad.append(line)
                self.is_torn |= self._has_begun
                if len(self._bad) > _MAX_BAD_LINES:
                    raise CorpusError(
                        f"{self._files.location(self._key)} is no table: over {_MAX_BAD_LINES} "
                        f"lines in a row can't be read, such as line {self.number}: {line.detail}. "
                        "Unpack the corpus again."
                    )

    def take_bad(self) -> list[Rejected]:
        """Return the lines that waited; another row begins."""
        bad, self._bad = self._bad, []
        self._has_begun = self.is_torn = False
        return bad


def _rejected(key: str, number: int, why: str) -> Rejected:
    return Rejected(id=f"{key} line {number}", reason="invalid_row", detail=why)
