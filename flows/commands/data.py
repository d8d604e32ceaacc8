"""Commands that bring recordings in."""

import shlex
from dataclasses import replace
from typing import Annotated

import typer

from flows.commands.options import Json, configured
from flows.commands.run import run_pipeline
from flows.run_request import RunRequest


@configured
def ingest(
    request: RunRequest,
    list_corpora: Annotated[
        bool, typer.Option("--list", help="describe the corpora that --data knows")
    ] = False,
    as_json: Json = False,
) -> None:
    """Pack your own recordings or public corpora into checked shards: the first stage alone."""
    if list_corpora:
        from flows.corpora_screen import corpora_as_json, print_corpora
        from flows.run_screen import wide_console

        typer.echo(corpora_as_json()) if as_json else print_corpora(wide_console())
        return
    run_pipeline(replace(request, until="ingest"))
    typer.echo(f"Go on from this corpus: q2a run {shlex.join(request.as_options())}")
