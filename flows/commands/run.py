"""Commands that plan, run and continue the pipeline."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Json, Overrides, configured
from flows.run_request import RunRequest

if TYPE_CHECKING:
    from flows.execution import StageOutcome


@configured
def plan(request: RunRequest, as_json: Json = False) -> None:
    """Show which stages are done and which would run, and what they would take; runs nothing."""
    from flows.estimates import estimate_stages
    from flows.plan import plan_stages
    from flows.plan_screen import plan_as_json, print_estimates, print_plan
    from flows.preflight import machine_problems, refuse_planned
    from flows.run_screen import wide_console
    from flows.runners import open_ledger
    from infra.settings import read_settings
    from infra.storage.file_digests import FileDigests

    config, settings = request.load(), read_settings()
    digests = FileDigests(settings.home / "digests.json")
    estimates = estimate_stages(config)
    planned = plan_stages(config, lambda: open_ledger(settings), digests)
    if as_json:
        typer.echo(plan_as_json(planned, estimates))
    else:
        print_plan(wide_console(), planned)
        print_estimates(wide_console(), config, estimates)
        for problem in machine_problems(config, settings):
            typer.echo(f"on this machine: {problem}")
    refuse_planned(config, planned, lambda: open_ledger(settings))


@configured
def run(
    request: RunRequest,
    until: Annotated[str | None, typer.Option(help="last stage to run")] = None,
) -> None:
    """Run the pipeline; finished stages are skipped, a broken one continues inside."""
    run_pipeline(replace(request, until=until))


def resume(
    run_id: Annotated[str, typer.Argument(help="MLflow id of the pipeline run")],
    overrides: Overrides = None,
) -> None:
    """Continue a pipeline run, from its MLflow run id alone, or with some values changed."""
    run_pipeline(RunRequest(overrides=tuple(overrides or ()), resume=run_id))


def run_pipeline(request: RunRequest) -> None:
    """Run the pipeline as a Prefect flow, then print the tables of stages and scores.

    Raises:
        ConfigError: the configuration is no valid one, or there is no stage `until`.
    """
    from flows.prefect_server import own_prefect_server
    from flows.run_screen import print_evaluation, print_outcomes, wide_console
    from flows.runners import open_ledger
    from infra.settings import read_settings

    settings = read_settings()
    # What is wrong is said before anything starts.
    request.reopen(settings) if request.resume else request.load()
    with own_prefect_server(settings):
        outcomes = _run_flow(request)
    console = wide_console()
    print_outcomes(console, outcomes)
    print_evaluation(console, open_ledger(settings), outcomes)
    console.print(
        "Tracking: q2a ui   (MLflow and Prefect in the browser; same as `make ui`)",
        highlight=False,
    )


def _run_flow(request: RunRequest) -> "list[StageOutcome]":
    """Run the pipeline as a Prefect flow that leaves signals to the command."""
    from flows.prefect_health import OutageWatch
    from flows.prefect_runner import q2a
    from flows.run_log import logged, print_line
    from infra.stop_signals import kept_handlers

    with OutageWatch(logged(print_line)).every(), kept_handlers() as restore_handlers:
        # Prefect takes SIGTERM when a flow begins, for its own way to cancel it.
        flow = q2a.with_options(on_running=[lambda *_: restore_handlers()])
        outcomes: list[StageOutcome] = flow(**asdict(request))
    return outcomes
