"""Services that run until they are interrupted: the scheduled deployment, two web interfaces."""

import subprocess
import sys
from pathlib import Path

from flows.config import ConfigError, PipelineConfig
from infra.settings import Settings


def serve_pipeline(settings: Settings, config: PipelineConfig) -> None:
    """Register the pipeline with a Prefect server and execute its scheduled runs here.

    Blocks until it is interrupted. The fields of `PipelineConfig` are the deployment's parameters,
    which Prefect's UI shows as a typed form.

    Raises:
        ConfigError: no server is named. Prefect's ephemeral one ends with its process, and every
            schedule with it.
    """
    if not settings.prefect_api_url:
        raise ConfigError(
            "q2a serve needs a Prefect server that stays: start one with `q2a ui`, then set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api and run this again"
        )
    from prefect import serve
    from prefect.schedules import Cron

    from flows.prefect_runner import q2a

    deployment = q2a.to_deployment(
        name=config.profile,
        schedule=Cron(config.schedule.cron, timezone=config.schedule.timezone),
        parameters={"config": config.model_dump(mode="json")},
        description="Recordings in, an evaluated Qwen2-Audio checkpoint out.",
    )
    serve(deployment)  # type: ignore[arg-type, unused-ignore]


def serve_interfaces(settings: Settings, mlflow_port: int, prefect_port: int) -> None:
    """Start MLflow's UI and a Prefect server on this machine until interrupted."""
    from infra.tracking_database import prepare_database  # it imports MLflow

    prepare_database(settings.resolved_tracking_uri, settings.home / "mlartifacts")
    binaries = Path(sys.executable).parent
    host = "127.0.0.1"
    mlflow = [
        str(binaries / "mlflow"), "ui", "--host", host, "--port", str(mlflow_port),
        "--backend-store-uri", settings.resolved_tracking_uri,
    ]  # fmt: skip
    prefect = [
        str(binaries / "prefect"), "server", "start", "--host", host, "--port", str(prefect_port),
    ]  # fmt: skip
    print(f"MLflow   http://{host}:{mlflow_port}")
    print(f"Prefect  http://{host}:{prefect_port}", flush=True)
    servers = [subprocess.Popen(command) for command in (mlflow, prefect)]
    try:
        for server in servers:
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
