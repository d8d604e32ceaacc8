"""The ledger's entry: what a finished stage read, did and left behind."""

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
    """`record.json`: written last, so that its presence means that the stage is done."""

    stage: str
    version: int
    fingerprint: str
    recipe: dict[str, object]
    inputs: dict[str, str]
    """Input name -> fingerprint of the artifact (or digest of the source) that was read."""
    library_versions: dict[str, str]
    files: tuple[OutputFile, ...]
    counts: dict[str, int]
    """At least `records_in`, `records_out` and `rejected`."""
    seconds: float
    """Wall-clock time of the work, summed over interruptions only as far as the last run."""
    tracking_run: str
    """The MLflow run that produced the artifact."""
    finished_at: str
    """UTC, ISO 8601."""


def fingerprint(stage: str, version: int, recipe: dict[str, object], inputs: dict[str, str]) -> str:
    """Identity of a stage's output, known before it runs.

    sha256 over the canonical JSON of stage name, version, recipe and input fingerprints.

    Raises:
        UnstableValueError: a value of the recipe has no stable form.
    """
    return digest_of({"stage": stage, "version": version, "recipe": recipe, "inputs": inputs})
