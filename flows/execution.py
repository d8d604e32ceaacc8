"""Execution of one stage: contracts, ledger, lock, tracking, work, contracts, record.

The order: lock -> hit? verify and link -> MLflow child run -> verify the inputs' contracts -> work
-> verify the output's contracts -> record -> log.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from data_contracts.contract_page import render_page
from data_contracts.contract_result import ContractResult, enforce
from data_contracts.stage_record import StageRecord
from flows.stage import Artifact, StageCall
from infra.compute.interface import Compute
from infra.compute.resources import Resources
from infra.ledger import Ledger
from infra.registry import Checkpoint, Registry
from infra.retry import error_text
from infra.storage.store import Store
from infra.tracking import ERROR_TAG, HIT_TAG, MAX_ERROR_CHARACTERS, RunLogger, Tracking
from tasks.context import CHECKPOINT, StageContext, StageResult

_RECORDED_LIBRARIES = (
    "torch", "transformers", "ray", "prefect", "mlflow", "great-expectations",
    "webdataset", "soundfile", "soxr", "av", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class StageOutcome:
    """Outcome of one stage: a line of the table that a run ends with."""

    stage: str
    hit: bool
    seconds: float
    record: StageRecord


@dataclass
class Session:
    """A run of the pipeline: what its stages share, and what became of them so far."""

    ledger: Ledger
    tracking: Tracking
    parent: RunLogger
    compute: Compute
    resources: Resources
    scratch: Path
    model_name: str
    """Name of the registered model in MLflow."""
    progress: Callable[[str], None]
    outcomes: list[StageOutcome] = field(default_factory=list)


def execute(session: Session, call: StageCall) -> Artifact:
    """Make the artifact of a call, unless it is whole in the store.

    Raises:
        ContractBreachError: an input or the output breaks its contract.
        Exception: whatever the stage raises; its MLflow run is then FAILED.
    """
    stage, artifact = call.stage, call.artifact
    started = time.monotonic()
    with session.ledger.lock(
        stage.name,
        artifact.fingerprint,
        lambda: session.progress(f"{stage.name}: waits for another run with the same artifact"),
    ):
        record = find_whole(session, artifact)
        hit = record is not None
        if record is None:
            record = _make(session, call)
        else:
            session.ledger.delete_leftovers(record)
        link(session, call, record, hit)
    outcome = StageOutcome(stage.name, hit, time.monotonic() - started, record)
    session.outcomes.append(outcome)
    rows = f"{record.counts['records_in']} in, {record.counts['records_out']} out"
    session.progress(f"{stage.name}: {'hit' if hit else 'done'} in {outcome.seconds:.1f} s, {rows}")
    return artifact


def find_whole(session: Session, artifact: Artifact) -> StageRecord | None:
    """Return the record of an artifact whose files all verify; a damaged one becomes unfinished."""
    record = session.ledger.find(artifact.stage.name, artifact.fingerprint)
    if record is None:
        return None
    damages = session.ledger.verify(record)
    if not damages:
        return record
    for damage in damages[:3]:
        session.progress(f"{record.stage}: {damage.path} is damaged ({damage.problem})")
    session.progress(f"{record.stage}: {len(damages)} damaged files will be made again")
    session.ledger.discard(record, damages)
    return None


def link(session: Session, call: StageCall, record: StageRecord, hit: bool) -> None:
    """Link the pipeline's MLflow run to the one that made an artifact, and show its headline there.

    A checkpoint becomes a version of the registered model.
    """
    producer = record.tracking_run
    directory = _directory(session, call.artifact)
    session.parent.tags({f"q2a.artifact.{record.stage}": record.fingerprint})
    if hit:
        producer = _producer(session, call, record)
        session.parent.tags({f"{HIT_TAG}{record.stage}": producer})
    metrics = call.stage.headline(directory) if call.stage.headline else {}
    if metrics:
        session.parent.metrics({f"{record.stage}.{k}": v for k, v in metrics.items()}, step=0)
    if alias := call.stage.registers_model:
        checkpoint = Checkpoint(
            source=directory.below(CHECKPOINT).url,
            stage=record.stage,
            fingerprint=record.fingerprint,
            run_id=producer,
            metrics=metrics,
        )
        number = Registry(session.tracking.uri).register(session.model_name, alias, checkpoint)
        RunLogger(session.tracking.uri, producer).tags(
            {"q2a.model_version": f"{session.model_name}/{number}"}
        )


def _producer(session: Session, call: StageCall, record: StageRecord) -> str:
    """Return the id of the MLflow run that made an artifact.

    Where MLflow has none, because the database is new or the process died between record and log,
    a run is written from the record.
    """
    run = session.tracking.producer_of(record.fingerprint)
    if run is not None:
        return str(run.info.run_id)
    logger = _start_tracking(session, call)
    logger.params(call.recipe_values)
    _log_result(session, call, logger, record)
    logger.finish("FINISHED")
    return logger.run_id


def _start_tracking(session: Session, call: StageCall) -> RunLogger:
    fingerprint = call.artifact.fingerprint
    session.tracking.end_abandoned(fingerprint)
    return session.tracking.start_stage(
        session.parent, call.stage.name, fingerprint, call.input_fingerprints
    )


def _make(session: Session, call: StageCall) -> StageRecord:
    stage = call.stage
    logger = _start_tracking(session, call)
    started = time.monotonic()
    try:
        logger.params(call.recipe_values)
        _check_inputs(session, call, logger)
        context = _context(session, call, logger)
        arguments = (call.source.value,) if call.source else ()
        result = stage.run(context, call.recipe, *arguments)
        contracts = stage.check(context.directory)
        _log_contracts(logger, contracts, f"{stage.name} leaves behind", "contracts_out")
        for contract in contracts:
            enforce(contract)
        record = _record(session, call, result, logger.run_id, time.monotonic() - started)
        session.ledger.complete(record)
        _log_result(session, call, logger, record)
        if result.metrics:
            logger.metrics(result.metrics, step=0)
    except BaseException as error:
        logger.tags({ERROR_TAG: error_text(error)[:MAX_ERROR_CHARACTERS]})
        logger.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    logger.finish("FINISHED")
    return record


def _context(session: Session, call: StageCall, logger: RunLogger) -> StageContext:
    return StageContext(
        directory=session.ledger.directory(call.stage.name, call.artifact.fingerprint),
        inputs={name: _directory(session, artifact) for name, artifact in call.inputs.items()},
        logger=logger,
        compute=session.compute,
        resources=session.resources,
        scratch=session.scratch,
        progress=lambda text: session.progress(f"{call.stage.name}: {text}"),
    )


def _directory(session: Session, artifact: Artifact) -> Store:
    return session.ledger.directory(artifact.stage.name, artifact.fingerprint)


def _check_inputs(session: Session, call: StageCall, logger: RunLogger) -> None:
    results: list[ContractResult] = call.source.check() if call.source else []
    for name, artifact in call.inputs.items():
        directory = _directory(session, artifact)
        results += artifact.stage.check(directory)
        record = session.ledger.find(artifact.stage.name, artifact.fingerprint)
        num_rows = record.counts["records_out"] if record else 0
        logger.dataset(name, artifact.fingerprint, directory.url, num_rows)
    if call.source:
        rows_in = sum(result.rows for result in results)
        logger.dataset("source", call.source.digest, str(call.source.value), rows_in)
    _log_contracts(logger, results, f"{call.stage.name} reads", "contracts_in")
    for result in results:
        enforce(result)


def _log_contracts(logger: RunLogger, results: list[ContractResult], title: str, name: str) -> None:
    logger.text("[" + ",\n".join(result.to_json() for result in results) + "]", f"{name}.json")
    logger.text(render_page(results, title), f"{name}.html")


def _record(
    session: Session, call: StageCall, result: StageResult, run_id: str, seconds: float
) -> StageRecord:
    return StageRecord(
        stage=call.stage.name,
        version=call.stage.version,
        fingerprint=call.artifact.fingerprint,
        recipe=call.recipe_values,
        inputs=call.input_fingerprints,
        library_versions={name: version(name) for name in _RECORDED_LIBRARIES},
        files=session.ledger.list_files(call.stage.name, call.artifact.fingerprint),
        counts={
            "records_in": result.records_in,
            "records_out": result.records_out,
            "rejected": result.rejected,
        },
        seconds=round(seconds, 3),
        tracking_run=run_id,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _log_result(session: Session, call: StageCall, logger: RunLogger, record: StageRecord) -> None:
    """Log what MLflow shows of a finished artifact."""
    directory = _directory(session, call.artifact)
    logger.text(record.model_dump_json(indent=2), "record.json")
    logger.metrics({name: float(value) for name, value in record.counts.items()}, step=0)
    for name in call.stage.pages:
        logger.text(directory.read_text(name), name)
