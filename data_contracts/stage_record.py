"""The ledger's entry: what a finished stage read and wrote.

A record is data from outside: whoever can write into the store can write one. What it says is
checked when it is read, and nothing outside of its artifact's folder is ever touched for its sake.
"""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, field_validator

from data_contracts.digest import digest_of
from data_contracts.records import Record

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


def fingerprint(stage: str, version: int, recipe: dict[str, object], inputs: dict[str, str]) -> str:
    """Return the identity of a stage's output, known before it runs.

    It is the sha256 of the canonical JSON of stage name, version, recipe and input fingerprints.

    Raises:
        UnstableValueError: a value of the recipe has no stable form.
    """
    return digest_of({"stage": stage, "version": version, "recipe": recipe, "inputs": inputs})
