"""`q2a`: its commands, and the exit codes that they share.

Exit codes: 0 done, 1 a stage failed, 2 the command or configuration is wrong, 3 the data broke a
contract or can't be used; 130 stopped by SIGINT (Ctrl-C), 143 by SIGTERM, 129 by SIGHUP.
"""

import signal
import traceback
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from typer.core import TyperCommand

from data_contracts.errors import DataError, UsageError
from flows.commands.data import ingest
from flows.commands.forms import export, look
from flows.commands.look import config, show
from flows.commands.machine import adopt, convert, doctor
from flows.commands.run import plan, resume, run
from flows.commands.serve import serve, ui
from infra.retry import error_text
from infra.stop_signals import StopSignals

_INTERRUPTED = 128 + signal.SIGINT


class _Command(TyperCommand):
    """A command whose function finds the environment settled, before it imports anything."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override, unused-ignore]
        from infra.settings import read_settings

        read_settings()
        return super().invoke(ctx)


app = typer.Typer(no_args_is_help=True, add_completion=False)
for command in (plan, run, resume, ingest, convert, show, config, serve, ui, adopt, doctor):
    app.command(cls=_Command)(command)
data = typer.Typer(no_args_is_help=True, help="Look at data of any form, and export it.")
data.command(cls=_Command)(look)
data.command(cls=_Command)(export)
app.add_typer(data, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"q2a {version('q2a')}")
        raise typer.Exit


@dataclass
class _Wanted:
    """What the options before the command ask for."""

    debug: bool = False


@app.callback()
def q2a(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="print the traceback of an error at once")
    ] = False,
    _: Annotated[
        bool,
        typer.Option("--version", help="print the version", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Qwen2-Audio from recordings to report."""
    context.obj.debug = debug


def run_command() -> int:
    """Run the command line and return its exit code; an error becomes one clear message."""
    wanted = _Wanted()
    with StopSignals() as stop:
        try:
            # Without standalone mode, Click returns the code of a typer.Exit.
            code = app(standalone_mode=False, obj=wanted)
        except BaseException as error:
            if not stop.received:
                if wanted.debug:
                    traceback.print_exception(error)
                return _explain(error)
            code = None
        if (received := stop.received) or code == _INTERRUPTED:
            notes = getattr(stop.error, "__notes__", None) or ["the same command continues"]
            _print(f"stopped by {received.name if received else 'the user'}; {notes[0]}")
            return stop.exit_code
    return code if isinstance(code, int) else 0


def _explain(error: BaseException) -> int:
    """Print what went wrong, and where its traceback is; return the exit code."""
    if isinstance(error, UsageError):
        return _fail(error, str(error), 2)
    if isinstance(error, DataError):
        return _fail(error, str(error), 3)
    if explain := getattr(error, "format_message", None):
        # Typer's errors about the command line, in its own copy of Click or in Click's.
        message = explain()
        # `q2a` alone has printed its help.
        return _fail(error, message, 2) if message else 2
    if not isinstance(error, Exception):
        raise error
    from flows.run_log import keep_traceback
    from infra.settings import read_settings

    keep_traceback(read_settings().home, error)
    return _fail(error, error_text(error), 1)


def _fail(error: BaseException, message: str, code: int) -> int:
    notes = getattr(error, "__notes__", [])
    _print(" ".join([f"error: {message}", *(f"({note})" for note in notes)]))
    return code


def _print(message: str) -> None:
    Console(stderr=True).print(message, highlight=False, markup=False, soft_wrap=True)
