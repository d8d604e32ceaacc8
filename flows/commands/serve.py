"""Commands that run until they are interrupted."""

from typing import Annotated

import typer

from flows.commands.options import configured
from flows.run_request import RunRequest


@configured
def serve(request: RunRequest) -> None:
    """Register the pipeline as a scheduled deployment and execute what falls due."""
    from flows.serve import serve_pipeline
    from infra.settings import read_settings

    serve_pipeline(read_settings(), request)


def ui(
    mlflow_port: Annotated[int, typer.Option(help="port of MLflow's UI")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="port of Prefect's server")] = 4200,
) -> None:
    """Start MLflow's UI and a Prefect server, and print their addresses."""
    from flows.serve import serve_interfaces
    from infra.settings import read_settings

    serve_interfaces(read_settings(), mlflow_port, prefect_port)
