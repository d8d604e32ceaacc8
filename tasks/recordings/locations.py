"""Locations that data may come from: files, object stores, HTTP.

A manifest is written by others. Tools of the field run commands that stand in place of a file name
(WebDataset's `pipe:`, Kaldi's `sox ... |`), and fsspec opens protocols that read other hosts, so
only the protocols that are listed here are opened.
"""

import re

PROTOCOLS = frozenset(
    {"file", "local", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory"}
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


class RefusedLocationError(ValueError):
    """A location that must not be opened."""


def check_location(location: str) -> None:
    """Refuse a path or URL that can do more than name a file.

    Its messages become part of a source's digest (`manifest.source_digest`), so they stay as they
    are.

    Raises:
        RefusedLocationError: it runs a command, is chained, or has a protocol that is not allowed.
    """
    name = location.strip()
    if name.startswith("|") or name.endswith("|"):
        raise RefusedLocationError(
            f"{location!r:.200} is a command pipe; nothing that a manifest names is executed. "
            "Run the command yourself and name the file that it writes."
        )
    scheme = _SCHEME.match(name)
    if "::" in name or (
        scheme and not (scheme[1] in PROTOCOLS and name.startswith(f"{scheme[1]}://"))
    ):
        raise RefusedLocationError(
            f"{location!r:.200} is chained (`::`) or of the protocol "
            f"{scheme[1] if scheme else 'file'!r}; allowed are plain paths and URLs of "
            f"{', '.join(sorted(PROTOCOLS))}. Copy the file to such a place; a name with a colon "
            "is written ./NAME."
        )


def resolve(base: str, location: str) -> str:
    """Resolve a location that a manifest in the folder `base` names."""
    is_absolute = location.startswith("/") or "://" in location
    return location if is_absolute else f"{base}/{location}"
