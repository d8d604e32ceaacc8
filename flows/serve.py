"""Services that run until they are interrupted: the scheduled deployment, two web interfaces."""

import asyncio
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from flows.prefect_server import running_prefect_server
from flows.profile_files import ConfigError
from flows.run_request import RunRequest
from infra.reaper import end_children_with_this_process
from infra.server_process import HOST, ServerError, check_port, server_process
from infra.settings import Settings


def serve_pipeline(settings: Settings, request: RunRequest) -> None:
    """Register the pipeline with a Prefect server and execute its scheduled runs here.

    Blocks until it is interrupted. What a run can be asked with are the deployment's parameters,
    which Prefect's UI shows as a form.

    Raises:
        ConfigError: no server is named. Prefect's ephemeral one ends with its process, and every
            schedule with it.
    """
    if not settings.prefect_api_url:
        raise ConfigError(
            "q2a serve needs a Prefect server that stays: start one with `q2a ui`, then set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api and run this again"
        )
    config = request.load()
    from prefect.runner import Runner
    from prefect.schedules import Cron

    from flows.prefect_runner import q2a

    deployment = q2a.to_deployment(
        name=config.profile,
        schedule=Cron(config.schedule.cron, timezone=config.schedule.timezone),
        parameters=asdict(request),
        description="Recordings in, an evaluated Qwen2-Audio checkpoint out.",
    )
    end_children_with_this_process()
    runner = Runner()
    runner.add_deployment(deployment)  # type: ignore[arg-type, unused-ignore]
    # In place of the runner's own, which waits for the loop that it has just interrupted.
    runner.handle_sigterm = signal.getsignal(signal.SIGTERM)  # type: ignore[assignment, method-assign]
    schedule = f"{config.schedule.cron!r} ({config.schedule.timezone})"
    print(f"serving {config.profile}: due at {schedule}, or when started by hand", flush=True)
    asyncio.run(runner.start())


def serve_interfaces(settings: Settings, mlflow_port: int, prefect_port: int) -> None:
    """Run MLflow's UI and a Prefect server on this machine until interrupted.

    Raises:
        PortTakenError: another process listens on one of the ports.
        PrefectDatabaseError: the database of Prefect's server is damaged.
        ServerError: a server ended by itself; with what it printed last.
    """
    from infra.tracking_database import prepare_database  # it imports MLflow

    check_port("MLflow's UI", mlflow_port, "--mlflow-port")
    check_port("Prefect's server", prefect_port, "--prefect-port")
    prepare_database(settings.resolved_tracking_uri, settings.home / "mlartifacts")
    binaries, logs = Path(sys.executable).parent, settings.home / "logs"
    mlflow = [
        str(binaries / "mlflow"), "ui", "--host", HOST, "--port", str(mlflow_port),
        "--backend-store-uri", settings.resolved_tracking_uri,
    ]  # fmt: skip
    prefect = [
        str(binaries / "prefect"), "server", "start", "--host", HOST, "--port", str(prefect_port),
    ]  # fmt: skip
    # The page asks the API at this address; else at that of PREFECT_API_URL, or of port 4200.
    url = f"http://{HOST}:{prefect_port}/api"
    page, log = {"PREFECT_SERVER_UI_API_URL": url}, logs / "prefect-server.log"
    with (
        server_process("MLflow's UI", mlflow, {}, logs / "mlflow-ui.log") as first,
        running_prefect_server(settings.home, prefect, page, url, log) as second,
    ):
        print(f"MLflow   http://{HOST}:{mlflow_port}")
        print(f"Prefect  http://{HOST}:{prefect_port}")
        print(f"What they print goes to {logs}", flush=True)
        while all(server.process.poll() is None for server in (first, second)):
            time.sleep(0.5)
        ended = first if first.process.poll() is not None else second
        raise ServerError(ended.describe_end())
