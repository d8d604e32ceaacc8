"""The ledger's entry: what a finished stage read and wrote."""

from data_contracts.digest import digest_of
from data_contracts.records import Record


class OutputFile(Record):
    """One file of an artifact."""

    path: str
    """Relative to the artifact's folder."""
    size: int
    """Bytes."""
    sha256: str


class StageRecord(Record):
    """The content of `record.json`: written last, so its presence means that a stage is done."""

    stage: str
    version: int
    fingerprint: str
    recipe: dict[str, object]
    inputs: dict[str, str]
    """Fingerprint of the artifact (or digest of the source) that was read, by name of the input."""
    library_versions: dict[str, str]
    files: tuple[OutputFile, ...]
    counts: dict[str, int]
    """At least `records_in`, `records_out` and `rejected`."""
    seconds: float
    """Wall-clock time of the work, summed over interruptions only as far as the last run."""
    tracking_run: str
    """Id of the MLflow run that produced the artifact."""
    finished_at: str
    """Time in UTC, ISO 8601."""


def fingerprint(stage: str, version: int, recipe: dict[str, object], inputs: dict[str, str]) -> str:
    """Return the identity of a stage's output, known before it runs.

    It is the sha256 of the canonical JSON of stage name, version, recipe and input fingerprints.

    Raises:
        UnstableValueError: a value of the recipe has no stable form.
    """
    return digest_of({"stage": stage, "version": version, "recipe": recipe, "inputs": inputs})
