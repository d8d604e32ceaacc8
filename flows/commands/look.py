"""Commands that only look: at runs, and at what a profile can set."""

from typing import Annotated

import typer


def show() -> None:
    """List the pipeline runs, the newest first."""
    from flows.run_screen import print_runs, wide_console
    from flows.runners import open_tracking
    from infra.settings import read_settings

    print_runs(wide_console(), open_tracking(read_settings()).pipelines())


def config(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="print the page docs/configuration.md")
    ] = False,
) -> None:
    """List profiles, stages, and every key that a profile or --set can set, with its meaning."""
    from flows.config_keys import config_keys, environment_keys, keys_as_markdown, print_keys
    from flows.pipeline import STAGES, config_type
    from flows.profile_files import profile_names
    from flows.run_screen import wide_console
    from infra.settings import Settings

    keys, environment = config_keys(config_type()), environment_keys(Settings)
    if markdown:
        typer.echo(keys_as_markdown(keys, environment))
    else:
        typer.echo(f"Profiles: {', '.join(profile_names())}; or the path of a file")
        typer.echo(f"Stages: {', '.join(stage.name for stage in STAGES)}")
        print_keys(wide_console(), [*keys, *environment])
