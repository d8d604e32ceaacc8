"""Canonical JSON and content digests: the only way to an identity in this project.

Two values with the same canonical JSON are the same value. What has no stable form (a set, an
object, NaN, a path that means another file elsewhere) is refused instead of stringified, because a
fingerprint over an unstable form silently breaks the ledger.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from pydantic import BaseModel

from data_contracts.errors import UsageError

_CHUNK_BYTES = 1 << 20


class UnstableValueError(UsageError, TypeError):
    """A value without a canonical form was about to become part of an identity."""


def canonical_json(value: object) -> str:
    """Serialise `value` with sorted keys, no spaces and only stable types.

    Raises:
        UnstableValueError: naming the path and the type of the first value without a stable form.
    """
    stable = _stable(value, path="$")
    return json.dumps(stable, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest_of(value: object) -> str:
    """Return the sha256 of the canonical JSON of `value`, as 64 hexadecimal characters."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_each(values: Iterable[object]) -> str:
    """Return the sha256 of the canonical JSON of all values, a line each; one at a time is held."""
    sha = hashlib.sha256()
    for value in values:
        sha.update(canonical_json(value).encode() + b"\n")
    return sha.hexdigest()


def digest_of_bytes(data: bytes) -> str:
    """Return the sha256 of `data`, as 64 hexadecimal characters."""
    return hashlib.sha256(data).hexdigest()


def digest_of_stream(stream: BinaryIO) -> str:
    """Return the sha256 of everything left in `stream`, read in pieces of 1 MiB."""
    sha = hashlib.sha256()
    while piece := stream.read(_CHUNK_BYTES):
        sha.update(piece)
    return sha.hexdigest()


def _stable(value: object, path: str) -> object:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnstableValueError(
                f"{path} is {value}: JSON has no form for it. Use null or a finite number."
            )
        return value
    if isinstance(value, BaseModel):
        return _stable(value.model_dump(), path)
    if isinstance(value, Mapping):
        stable: dict[str, object] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise UnstableValueError(
                    f"{path} has the key {key!r} of type {type(key).__name__}: keys must be "
                    "strings. Convert the keys before."
                )
            stable[key] = _stable(item, f"{path}.{key}")
        return stable
    if isinstance(value, list | tuple):
        return [_stable(item, f"{path}[{i}]") for i, item in enumerate(value)]
    raise UnstableValueError(
        f"{path} is a {type(value).__name__}, which has no stable form and can't be part of a "
        "fingerprint. Use strings, numbers, booleans, lists and mappings."
    )
