"""Reads the rows of a JSONL file, or of a JSON list, with the bytes at which they stand.

Rows of JSONL are streamed, no more than one is in memory; a list is read whole.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infra.storage.source_files import open_url
from tasks.sources.source_error import DataSourceError

MAX_ROW_BYTES = 1 << 20
"""Longest row that is parsed: ten targets of 10,000 characters fit twice."""
MAX_INLINE_BYTES = 1 << 26
"""Longest row that holds recordings in base64: half an hour of 16 kHz fits."""
MAX_LIST_BYTES = 1 << 28
"""Longest list, which takes several times its bytes of memory."""
_HOLDS_AUDIO = re.compile(rb';base64,|"input_audio"')
_BLANK = re.compile(r"[ \t\r\n]*")


class TextRow(NamedTuple):
    """A row as it stands in its file."""

    name: str
    """Name of the row in messages, such as "line 3"."""
    number: int
    """Number of the row, from 1."""
    data: bytes
    text: str
    begin_byte: int
    is_too_long: bool
    """Whether it has more bytes than a row may have; its data are then cut."""


def json_rows(url: str) -> Iterator[TextRow]:
    """Read the rows of a manifest; a file `*.json` that begins with `[` is a list.

    Raises:
        DataSourceError: the file is missing, no UTF-8, no list, or can't be read.
    """
    try:
        if url.endswith(".json") and _is_list(url):
            yield from _elements(url)
        else:
            yield from _lines(url)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataSourceError(
            f"there is no manifest {url!r}; a relative path starts from the working directory, "
            f"which is {str(Path.cwd())!r}. Give a JSONL file with --set data.manifest=PATH. The "
            "corpus of the profiles demo and tiny comes with q2a's repository: clone it, and run "
            "in its folder."
        ) from error
    except (OSError, ImportError) as error:
        raise DataSourceError(f"manifest {url!r} can't be read: {error}") from error


def _lines(url: str) -> Iterator[TextRow]:
    """Yield the lines that are not empty, with their numbers from 1.

    A line with more bytes than a row may have is cut one byte after them, but where it holds
    recordings.
    """
    number = begin = 0
    with open_url(url) as stream:
        while line := stream.readline(MAX_ROW_BYTES + 1):
            number += 1
            limit = MAX_ROW_BYTES
            if len(line) > limit and not line.endswith(b"\n") and _HOLDS_AUDIO.search(line):
                limit = MAX_INLINE_BYTES
                line += stream.readline(limit + 1 - len(line))
            rest, size = line, len(line)
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(MAX_ROW_BYTES + 1)
                size += len(rest)
            mark = 3 if number == 1 and line.startswith(b"\xef\xbb\xbf") else 0
            line = line[mark:]  # Windows editors begin with it
            if line.strip():
                data = line.removesuffix(b"\n")
                text = _decoded(data, url, number)
                name = f"line {number}"
                yield TextRow(name, number, data, text, begin + mark, len(text) > limit)
            begin += size


def _decoded(data: bytes, url: str, number: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataSourceError(
            f"manifest {url!r} is not UTF-8 text in line {number}: {error}. Give a JSONL file, "
            "saved as UTF-8."
        ) from error


def _is_list(url: str) -> bool:
    with open_url(url) as stream:
        return stream.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _elements(url: str) -> Iterator[TextRow]:
    """Yield the elements of a JSON list, with their numbers from 1."""
    with open_url(url) as stream:
        data = stream.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise DataSourceError(
            f"manifest {url!r} is a list of over {MAX_LIST_BYTES} bytes, which is read whole. "
            "Write it as JSONL, an element a line: jq -c '.[]' LIST.json > LIST.jsonl"
        )
    mark = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    text = _decoded(data[mark:], url, 1)
    decoder, position, begin, number = json.JSONDecoder(), text.index("[") + 1, mark, 0
    counted = 0
    while True:
        position = _after_blank(text, position)
        if text[position : position + 1] == "]":
            return
        try:
            _, end = decoder.raw_decode(text, position)
            after = _after_blank(text, end)
            if text[after : after + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", text, after)
        except (ValueError, RecursionError) as error:
            raise DataSourceError(
                f"manifest {url!r} is no JSON list: element {number + 1} can't be read: {error}. "
                "Correct it, or write the rows as JSONL, one a line."
            ) from error
        number += 1
        begin += len(text[counted:position].encode())
        element = text[position:end]
        encoded = element.encode()
        too_long = len(encoded) > (
            MAX_INLINE_BYTES if _HOLDS_AUDIO.search(encoded) else MAX_ROW_BYTES
        )
        yield TextRow(f"row {number}", number, encoded, element, begin, too_long)
        begin += len(encoded)
        counted = end
        position = after + (text[after] == ",")


def _after_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
