"""The ledger's entry: what a finished stage read and wrote.

A record is data from outside: whoever can write into the store can write one. What it says is
checked when it is read, and nothing outside of its artifact's folder is ever touched for its sake.
"""

import json
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, field_validator

from data_contracts.digest import digest_of
from data_contracts.records import Record
from data_contracts.sealed_json import SEAL, seal, unseal

RECORD = "record.json"
"""Name of the record in the artifact's folder."""
SCRATCH = "scratch/"
"""Files below this folder help a stage to continue and are not part of the artifact."""
_COUNTS = ("records_in", "records_out", "rejected")
Count = Annotated[int, Field(ge=0)]


class OutputFile(Record):
    """One file of an artifact."""

    path: str
    """Path relative to the artifact's folder, with forward slashes and without `..`."""
    size: Count
    """Size in bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _is_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        is_normal = bool(path) and path == "/".join(parts) and path.isprintable()
        if not is_normal or ".." in parts or path.startswith("/") or "\\" in path:
            raise ValueError(f"{path!r} is no relative, normal path inside the artifact")
        if path == RECORD or path.startswith(SCRATCH):
            raise ValueError(f"{path!r} is no part of an artifact")
        return path


class Reference(Record):
    """A file outside of the store that an artifact refers to: verified with it, never deleted."""

    url: str = Field(
        pattern=r"^(/|(file|s3|s3a|gs|gcs|az|abfs|https?|memory)://)[^\x00-\x1f\x7f]+$"
    )
    """Absolute path, or URL of a file store."""
    size: Count
    """Size in bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("url")
    @classmethod
    def _is_not_chained(cls, url: str) -> str:
        if "::" in url:  # by which fsspec would open other hosts and protocols
            raise ValueError(f"{url!r} is chained")
        return url


class StageRecord(Record):
    """The content of `record.json`: written last, so its presence means that a stage is done."""

    stage: str
    version: int
    fingerprint: str
    recipe: dict[str, object]
    inputs: dict[str, str]
    """Fingerprint of the artifact (or digest of the source) that was read, by name of the input."""
    library_versions: dict[str, str]
    files: tuple[OutputFile, ...] = Field(min_length=1)
    references: tuple[Reference, ...] = Field((), exclude_if=lambda references: not references)
    """Not written where there are none, so that every record of such an artifact has one form."""
    counts: dict[str, Count]
    """At least `records_in`, `records_out` and `rejected`."""
    seconds: float
    """Wall-clock time of the work, summed over interruptions only as far as the last run."""
    tracking_run: str
    """Id of the MLflow run that produced the artifact."""
    finished_at: str
    """Time in UTC, ISO 8601."""

    @field_validator("counts")
    @classmethod
    def _are_complete(cls, counts: dict[str, int]) -> dict[str, int]:
        if missing := [name for name in _COUNTS if name not in counts]:
            raise ValueError(f"the counts {', '.join(missing)} are missing")
        return counts

    def to_json(self) -> bytes:
        """Return the bytes of `record.json`, with a digest of the record."""
        content = seal(self.model_dump(mode="json"))
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> "StageRecord":
        """Read `record.json`, of which no bit may have changed.

        A record of a time before records had digests is believed where its fingerprint is that of
        its stage, version, recipe and inputs.

        Raises:
            ValueError: it was changed, or breaks a rule of the record.
        """
        content = json.loads(data)
        if isinstance(content, dict) and SEAL in content:
            return cls.model_validate(unseal(content))
        record = cls.model_validate(content)
        made_of = fingerprint(record.stage, record.version, record.recipe, record.inputs)
        if record.fingerprint != made_of:
            raise ValueError(f"its fingerprint is {record.fingerprint}, its content's {made_of}")
        return record


def fingerprint(stage: str, version: int, recipe: dict[str, object], inputs: dict[str, str]) -> str:
    """Return the identity of a stage's output, known before it runs.

    It is the sha256 of the canonical JSON of stage name, version, recipe and input fingerprints.

    Raises:
        UnstableValueError: a value of the recipe has no stable form.
    """
    return digest_of({"stage": stage, "version": version, "recipe": recipe, "inputs": inputs})
