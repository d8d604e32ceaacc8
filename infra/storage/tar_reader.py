"""A scan of tars that others made: name, offset and size of each member, nothing is unpacked.

Nothing is ever written, so no name can reach outside. Beyond that, a member is refused that only an
attack or an accident makes: links, devices, absolute names or names with `..`, names of kilobytes,
a second member of one name. What a header claims is compared with the tar's size before it is
believed. Headers are read here and not by `tarfile`, which reads a long name or a pax header as far
as its size field claims.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO
from unicodedata import category

BLOCK = 512
"""Bytes of a header; data are filled up to whole blocks."""
MAX_NAME_BYTES = 1024
_MAX_HEADER_BYTES = 1 << 16
_MAX_SIZE_DIGITS = 20
"""Digits of a size in a pax header: 64 bits have no more."""
_END = bytes(BLOCK)
_REGULAR = frozenset({b"0", b"\0", b"7"})
_FOLDER, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"5", b"L", b"K", b"x", b"g"
_REFUSED_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device",
    b"4": "a block device", b"6": "a pipe", b"S": "a sparse file",
}  # fmt: skip


class TarError(ValueError):
    """A file that is a damaged tar, or no plain tar."""


@dataclass(frozen=True)
class Member:
    """A file in a tar."""

    name: str
    offset: int
    """Byte of the tar at which its data begin."""
    size: int
    """Bytes of its data."""


@dataclass(frozen=True)
class Refused:
    """A member that is not read."""

    name: str
    rule: str
    """Which rule it breaks, as the end of a sentence."""


def scan_tar(stream: BinaryIO) -> Iterator[Member | Refused]:
    """Yield all members of an uncompressed tar but folders, in their order; the names differ.

    Raises:
        TarError: the tar is damaged or cut; the members before the damage are yielded first.
    """
    total = stream.seek(0, SEEK_END)
    offset, names = 0, set[str]()
    extended: dict[str, str] = {}
    while True:
        stream.seek(offset)
        header = stream.read(BLOCK)
        if header == _END:
            return
        if len(header) < BLOCK:
            raise TarError(
                f"the tar ends at byte {total} without an end mark: it was cut. Copy it again."
            )
        kind, size = header[156:157], _size(header, offset)
        size = int(extended.get("size", size)) if kind in _REGULAR else size
        data = offset + BLOCK
        after = data + -(-size // BLOCK) * BLOCK
        if data + size > total:
            raise TarError(
                f"the member at byte {offset} claims {size} bytes, but the tar ends at byte "
                f"{total}: it was cut, or its header is false. Copy it again."
            )
        offset = after
        if kind in (_LONG_NAME, _PAX):
            if size > _MAX_HEADER_BYTES:
                extended["path"] = "?" * (MAX_NAME_BYTES + 1)
            else:
                extended |= _extension(kind, stream.read(size))
            continue
        if kind in (_LONG_LINK, _PAX_GLOBAL):
            continue
        name = extended.get("path") or _short_name(header)
        extended = {}
        if kind == _FOLDER or (kind in _REGULAR and name.endswith("/")):
            continue
        rule = _REFUSED_KINDS.get(kind) if kind not in _REGULAR else name_rule(name)
        if kind not in _REGULAR:
            rule = f"it is {rule or f'of the unknown kind {kind!r}'}"
        elif rule is None and name in names:
            rule = "another member has the same name"
        names.add(name)
        yield Refused(name[:100], rule) if rule else Member(name, data, size)


def name_rule(name: str) -> str | None:
    """Return the rule that a member's name breaks, None where it breaks none."""
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        return f"its name has over {MAX_NAME_BYTES} bytes"
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        return "its name is absolute"
    if ".." in name.replace("\\", "/").split("/"):
        return "its name leads out of the tar with '..'"
    # Lone surrogates, which stand for other encodings, are no printable characters either.
    if not all(char.isprintable() or category(char) == "Zs" for char in name):
        return "its name has control characters, or is not UTF-8"
    return None if name else "it has no name"


def _size(header: bytes, offset: int) -> int:
    """Return the size field, after the header's checksum has proved that this is a header."""
    unsigned = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    try:
        if _octal(header[148:156]) != unsigned:
            raise ValueError("checksum differs")
        if header[124] == 0x80:  # base 256, for what eight gigabytes exceeds
            return int.from_bytes(header[125:136], "big")
        return _octal(header[124:136])
    except ValueError as error:
        raise TarError(
            f"there is no tar header at byte {offset}: {error}. It is damaged, or compressed: "
            "unpack a .tar.gz with gzip -d, since members are read by their offset."
        ) from error


def _octal(field: bytes) -> int:
    """Parse a number like `tarfile`, but of digits only: `int` takes signs and underscores too."""
    digits = field.partition(b"\0")[0].strip(b" ")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise ValueError(f"{digits!r} is no octal number")
    return int(digits or b"0", 8)


def _short_name(header: bytes) -> str:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _extension(kind: bytes, data: bytes) -> dict[str, str]:
    """Return the name, and in pax the size, that a header gives to the next member."""
    if kind == _LONG_NAME:
        return {"path": data.split(b"\0")[0].decode("utf-8", "surrogateescape")}
    fields = {}
    while data:
        length = data.split(b" ", 1)[0]
        is_number = length.isdigit() and len(length) <= len(str(_MAX_HEADER_BYTES))
        if not is_number or not len(length) + 1 < int(length) <= len(data):
            raise TarError("a pax header is damaged. Copy the tar again.")
        name, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if name in (b"path", b"size"):
            fields[name.decode()] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    if not re.fullmatch(f"[0-9]{{1,{_MAX_SIZE_DIGITS}}}", fields.get("size", "0")):
        raise TarError(
            f"a pax header claims the size {fields['size']!r:.50}: no number of bytes. Copy the "
            "tar again."
        )
    return fields
