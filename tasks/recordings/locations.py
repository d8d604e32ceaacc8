"""Where data may come from: files, object stores, HTTP.

A manifest is written by others. Tools of the field run commands that are written in place of a file
name (WebDataset's `pipe:`, Kaldi's `sox ... |`), and fsspec opens protocols that read other hosts,
so only what is listed here is opened.
"""

import re

PROTOCOLS = frozenset(
    {"file", "local", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory"}
)
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
    if "::" in name or (
        scheme and not (scheme[1] in PROTOCOLS and name.startswith(f"{scheme[1]}://"))
    ):
        raise RefusedLocationError(
            f"{place!r:.200} is chained (`::`) or of the protocol "
            f"{scheme[1] if scheme else 'file'!r}; allowed are plain paths and URLs of "
            f"{', '.join(sorted(PROTOCOLS))}. Copy the file to such a place; a name with a colon "
            "is written ./NAME."
        )


def resolve(base: str, place: str) -> str:
    """`place` as a manifest in the folder `base` means it."""
    return place if place.startswith("/") or "://" in place else f"{base}/{place}"
