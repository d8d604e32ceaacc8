"""JSON objects that carry a digest of their own content, so that a changed one is not believed."""

import json
from collections.abc import Mapping

from data_contracts.digest import digest_of_bytes

SEAL = "own_sha256"
"""Key of the digest: the sha256 of all other keys and values, whatever their order."""


class BrokenSealError(ValueError):
    """A JSON object has no digest of its own, or one of another content."""


def seal(content: Mapping[str, object]) -> dict[str, object]:
    """Return the content with its digest; its values are those of JSON."""
    return {**content, SEAL: _digest(content)}


def unseal(content: object) -> dict[str, object]:
    """Return a parsed object without its digest, which was compared.

    Raises:
        BrokenSealError: it is no object, has no digest, or was changed since it was written.
    """
    if not isinstance(content, dict) or SEAL not in content:
        raise BrokenSealError(f"it has no {SEAL}")
    inner = {key: value for key, value in content.items() if key != SEAL}
    if _digest(inner) != content[SEAL]:
        raise BrokenSealError(f"its {SEAL} is that of another content")
    return inner


def _digest(content: Mapping[str, object]) -> str:
    return digest_of_bytes(json.dumps(content, sort_keys=True).encode())
