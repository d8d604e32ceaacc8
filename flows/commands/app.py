"""`q2a`: its commands, and the exit codes that they share.

Exit codes: 0 done, 1 a stage failed, 2 the command or configuration is wrong, 3 the data broke a
contract or can't be used, 130 stopped by the user.
"""

from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from typer.core import TyperCommand

from data_contracts.errors import DataError, UsageError
from flows.commands.data import ingest
from flows.commands.look import config, show
from flows.commands.machine import convert, doctor
from flows.commands.run import plan, resume, run
from flows.commands.serve import serve, ui

_INTERRUPTED = 130


class _Command(TyperCommand):
    """A command whose function finds the environment settled, before it imports anything."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override, unused-ignore]
        from infra.settings import read_settings

        read_settings()
        return super().invoke(ctx)


app = typer.Typer(no_args_is_help=True, add_completion=False)
for command in (plan, run, resume, ingest, convert, show, config, serve, ui, doctor):
    app.command(cls=_Command)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"q2a {version('q2a')}")
        raise typer.Exit


@app.callback()
def q2a(
    _: Annotated[
        bool,
        typer.Option("--version", help="print the version", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Qwen2-Audio from recordings to report."""


def run_command() -> int:
    """Run the command line and return its exit code; known errors become one clear message."""
    try:
        # Without standalone mode, Click returns the code of a typer.Exit.
        code = app(standalone_mode=False)
    except UsageError as error:
        return _fail(str(error), 2)
    except DataError as error:
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
