"""Where data may come from: files, object stores, HTTP, and members of a plain tar or zip there.

A manifest is written by others. Tools of the field run commands that are written in place of a file
name (WebDataset's `pipe:`, Kaldi's `sox ... |`), and fsspec opens protocols that read other hosts,
so only what is listed here is opened.
"""

import re

PROTOCOLS = frozenset(
    {"file", "local", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory"}
)
CONTAINERS = frozenset({"tar", "zip"})
"""`tar://MEMBER::PLACE` is a member of the archive at PLACE, as fsspec spells it."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


class RefusedLocationError(ValueError):
    """A location that is not opened."""


def check_location(place: str) -> None:
    """Let a path or URL pass that can do nothing but name a file.

    Raises:
        RefusedLocationError: it runs a command, is chained, or is of a protocol that is not
            allowed.
    """
    name = place.strip()
    if name.startswith("|") or name.endswith("|"):
        raise RefusedLocationError(
            f"{place!r:.200} is a command pipe; nothing that a manifest names is executed. "
            "Run the command yourself and name the file that it writes."
        )
    scheme = _SCHEME.match(name)
    if scheme and scheme[1] in CONTAINERS and "::" in name:
        _check_outer(place, name.split("::", 1)[1])
    elif "::" in name or (scheme and not _is_url(name, scheme[1])):
        raise RefusedLocationError(
            f"{place!r:.200} is chained (`::`) or of the protocol "
            f"{scheme[1] if scheme else 'file'!r}; allowed are plain paths, URLs of "
            f"{', '.join(sorted(PROTOCOLS))}, and tar://MEMBER::PLACE or zip://MEMBER::PLACE of "
            "those. Copy the file to such a place; a name with a colon is written ./NAME."
        )


def member_of(place: str) -> tuple[str, str, str] | None:
    """(kind, member, archive's place) of a location inside an archive, None of a plain one."""
    scheme = _SCHEME.match(place)
    if scheme is None or scheme[1] not in CONTAINERS or "::" not in place:
        return None
    member, archive = place.split("::", 1)
    return scheme[1], member.removeprefix(f"{scheme[1]}://"), archive


def resolve(base: str, place: str) -> str:
    """`place` as a manifest in the folder `base` means it."""
    if found := member_of(place):
        kind, member, archive = found
        return f"{kind}://{member}::{resolve(base, archive)}"
    return place if place.startswith("/") or "://" in place else f"{base}/{place}"


def _is_url(name: str, scheme: str) -> bool:
    return scheme in PROTOCOLS and name.startswith(f"{scheme}://")


def _check_outer(place: str, archive: str) -> None:
    if member_of(archive):
        raise RefusedLocationError(
            f"{place!r:.200} is a member of an archive inside an archive; one level is read. "
            "Unpack the outer one."
        )
    check_location(archive)
