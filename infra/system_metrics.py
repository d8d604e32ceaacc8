"""Load of the machine during a run, as MLflow's own monitor measures it: `system/...` metrics."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from infra.tracking import RunLogger


@contextmanager
def system_metrics(run: RunLogger) -> Iterator[None]:
    """Log processor, memory, disk, network and GPUs every 10 s while the context is open.

    Only this machine is measured. The environment variables `MLFLOW_SYSTEM_METRICS_...` change how
    often; the thread has ended when the context is left.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # slow

    # What it logs is no news, and that it could not log is no reason to stop or to worry.
    logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
    monitor = SystemMetricsMonitor(run.run_id, resume_logging=True, tracking_uri=run.tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
