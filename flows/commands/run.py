"""Commands that plan, run and continue the pipeline."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Configuration, Json, configured

if TYPE_CHECKING:
    from flows.config import PipelineConfig
    from flows.execution import StageOutcome


@configured
def plan(configuration: Configuration, as_json: Json = False) -> None:
    """Show which stages are done and which would run, and what they would take; runs nothing."""
    from flows.estimates import estimate_stages
    from flows.plan import plan_stages
    from flows.plan_screen import plan_as_json, print_estimates, print_plan
    from flows.run_screen import wide_console
    from flows.runners import open_ledger
    from infra.settings import read_settings
    from infra.storage.file_digests import FileDigests

    config, settings = configuration.load(), read_settings()
    digests = FileDigests(settings.home / "digests.json")
    estimates = estimate_stages(config)
    planned = plan_stages(config, lambda: open_ledger(settings), digests)
    if as_json:
        typer.echo(plan_as_json(planned, estimates))
        return
    print_plan(wide_console(), planned)
    print_estimates(wide_console(), config, estimates)


@configured
def run(
    configuration: Configuration,
    until: Annotated[str | None, typer.Option(help="last stage to run")] = None,
) -> None:
    """Run the pipeline; finished stages are skipped, a broken one continues inside."""
    run_pipeline(configuration.load(), until=until)


def resume(run_id: Annotated[str, typer.Argument(help="MLflow id of the pipeline run")]) -> None:
    """Continue a pipeline run, from its MLflow run id alone."""
    from flows.config import parse_config
    from flows.pipeline import config_type
    from flows.runners import open_tracking
    from infra.settings import read_settings

    _, values = open_tracking(read_settings()).reopen_pipeline(run_id)
    run_pipeline(parse_config(values, f"pipeline run {run_id}", config_type()), parent_run=run_id)


def run_pipeline(
    config: "PipelineConfig", parent_run: str | None = None, until: str | None = None
) -> None:
    """Run the pipeline as a Prefect flow, then print the tables of stages and scores.

    Args:
        parent_run: MLflow id of a pipeline run to continue; None begins a new one.
        until: name of the last stage to run; None runs all.

    Raises:
        ConfigError: there is no stage `until`.
    """
    from flows.config import ConfigError
    from flows.pipeline import STAGES
    from flows.prefect_server import own_prefect_server
    from flows.run_screen import print_evaluation, print_outcomes, wide_console
    from flows.runners import open_ledger
    from infra.settings import read_settings

    names, settings = [stage.name for stage in STAGES], read_settings()
    if until is not None and until not in names:
        raise ConfigError(f"there is no stage {until!r}; there are {names}")
    with own_prefect_server(settings):
        outcomes = _run_flow(config, parent_run, until)
    console = wide_console()
    print_outcomes(console, outcomes)
    print_evaluation(console, open_ledger(settings), outcomes)
    console.print(
        "Tracking: q2a ui   (MLflow and Prefect in the browser; same as `make ui`)",
        highlight=False,
    )


def _run_flow(
    config: "PipelineConfig", parent_run: str | None, until: str | None
) -> "list[StageOutcome]":
    """Run the pipeline as a Prefect flow that leaves signals to the command."""
    from flows.prefect_health import OutageWatch
    from flows.prefect_runner import q2a
    from flows.run_log import logged, print_line
    from infra.stop_signals import kept_handlers

    with OutageWatch(logged(print_line)).every(), kept_handlers() as restore_handlers:
        # Prefect takes SIGTERM when a flow begins, for its own way to cancel it.
        flow = q2a.with_options(on_running=[lambda *_: restore_handlers()])
        return flow(config, parent_run=parent_run, until=until)
