"""Tables that the commands print for people; those of the plan are in `plan_screen`."""

from collections.abc import Sequence

from mlflow.entities import Run
from rich.console import Console
from rich.table import Table

from flows.execution import StageOutcome
from flows.pipeline import EVALUATE
from flows.tables import print_table
from flows.tables import wide_console as wide_console
from infra.ledger import Ledger
from tasks.evaluate import REPORT_PAGE, read_report
from tasks.evaluation.report import format_table


def print_outcomes(console: Console, outcomes: Sequence[StageOutcome]) -> None:
    """Print the table of stages that a run ends with."""
    table = Table(title="Stages")
    for name in ("stage", "state", "seconds", "records in", "records out", "rejected", "artifact"):
        table.add_column(name, justify="right" if name in _NUMERIC else "left")
    for outcome in outcomes:
        counts = outcome.record.counts
        table.add_row(
            outcome.stage,
            "hit" if outcome.hit else "run",
            f"{outcome.seconds:.1f}",
            *(str(counts[name]) for name in ("records_in", "records_out", "rejected")),
            outcome.record.fingerprint[:12],
        )
    print_table(console, table)


def print_evaluation(console: Console, ledger: Ledger, outcomes: Sequence[StageOutcome]) -> None:
    """Print the scores of the evaluation, if the run got there."""
    for outcome in outcomes:
        if outcome.stage == EVALUATE.name:
            directory = ledger.directory(outcome.stage, outcome.record.fingerprint)
            print_table(console, format_table(read_report(directory)))
            console.print(f"Report: {directory.path(REPORT_PAGE)}", soft_wrap=True)


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """Print the pipeline runs in the given order."""
    table = Table(title="Pipeline runs")
    for name in ("run", "name", "status"):
        table.add_column(name)
    for run in runs:
        table.add_row(run.info.run_id, run.info.run_name, run.info.status)
    print_table(console, table)


_NUMERIC = {"seconds", "records in", "records out", "rejected"}
