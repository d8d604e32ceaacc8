"""Settings that the environment decides, read once at an entry point and passed down from there.

Nothing else reads environment variables. Secrets (S3 keys) stay in the variables that their
libraries define (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`) and never pass through here.
"""

import os
import secrets
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_THIRD_PARTY_DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # The same for Prefect's server.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    # The console shows our own lines; Prefect's, with their tracebacks, go to its UI.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A server that is away for up to four minutes costs no run; its return is soon noticed.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "9",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Halves the fixed cost of a fit: workers are found healthy after 0.2 s instead of 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


_OWN_RAY_DEFAULTS = {
    # Despite its name: all ports of Ray on 127.0.0.1 and none on the network.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Other users of the machine reach 127.0.0.1 too.
    "RAY_AUTH_MODE": "token",
}
"""For a Ray that is started here; one that is joined has its own rules."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Settings(BaseSettings):
    """Folders and addresses of this machine, from environment variables.

    A field is read from `Q2A_<NAME>`, or from the variable of a library that it names.
    """

    model_config = SettingsConfigDict(env_prefix="Q2A_", use_attribute_docstrings=True)

    home: Path = Path("runs")
    """Folder of everything local: store, tracking database, Prefect's data, scratch files."""
    store: str = ""
    """fsspec URL of the artifact store; empty: `{home}/store`. `s3://bucket/prefix` works."""
    s3_endpoint_url: str = ""
    """S3 server other than Amazon's, e.g. `http://127.0.0.1:8333`."""
    tracking_uri: str = ""
    """MLflow tracking URI; empty: SQLite at `{home}/mlflow.db`."""
    ray_address: str = ""
    """Ray cluster to join; empty: start Ray on this machine for this process."""
    prefect_api_url: str = Field("", validation_alias="PREFECT_API_URL")
    """API of a Prefect server; empty: each run starts one of its own."""
    omp_num_threads: str = Field("1", validation_alias="OMP_NUM_THREADS")
    """Threads of a process's numerics, in Ray's workers too. Two busy processes with two threads
    each run 3-5 times slower than with one."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        """Make the path absolute, because workers have other working directories."""
        return home.expanduser().resolve()

    @property
    def store_url(self) -> str:
        """URL of the store, with the default filled in."""
        return self.store or str(self.home / "store")

    @property
    def resolved_tracking_uri(self) -> str:
        """URI of MLflow's tracking server, with the default filled in."""
        return self.tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def storage_options(self) -> dict[str, object]:
        """Options that fsspec needs to reach the store."""
        return {"endpoint_url": self.s3_endpoint_url} if self.s3_endpoint_url else {}


def read_settings() -> Settings:
    """Read the environment and give third-party libraries their defaults.

    Call it first in an entry point: libraries read their variables when they are imported.
    Variables that are already set win. A Ray that starts on this machine demands a random token,
    which its processes inherit.
    """
    settings = Settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    defaults = dict(_THIRD_PARTY_DEFAULTS)
    defaults["PREFECT_HOME"] = str(settings.home / "prefect")
    defaults["OMP_NUM_THREADS"] = settings.omp_num_threads
    if not settings.ray_address:
        # The environment of a process is its user's secret, its command line is not.
        defaults |= _OWN_RAY_DEFAULTS | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    _keep_loopback_from_proxies()
    return settings


def _keep_loopback_from_proxies() -> None:
    """Let no proxy stand between this machine's own servers and their clients."""
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    hosts = [host.strip() for host in direct.split(",") if host.strip()]
    if "*" not in hosts:
        direct = ",".join(dict.fromkeys([*hosts, *_LOOPBACK]))
    # Libraries read the one or the other.
    os.environ.update(no_proxy=direct, NO_PROXY=direct)
