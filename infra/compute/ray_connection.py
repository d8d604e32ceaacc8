"""The connection to Ray: started on this machine for this process alone, or joined."""

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from data_contracts.errors import UsageError
from infra.reaper import end_children_with_this_process
from infra.stop_signals import kept_handlers

_LONGEST_PARENT = 24
"""Bytes that the path above Ray's private folder may have: with what Ray adds for its sockets, over
80, it ends within the 107 that the system allows."""


class NoRayError(RuntimeError):
    """Ray did not start, or the cluster did not answer."""


def connect(address: str, num_cpus: int, environment: dict[str, str]) -> Any:
    """Return Ray, connected; imported and started late, because a run of hits needs neither.

    A Ray of our own listens on 127.0.0.1 alone and demands a token: `infra.settings` sets both in
    the environment, because Ray reads them when it is imported.

    Args:
        address: of the cluster to join; empty: Ray is started on this machine.
        num_cpus: CPUs that a Ray on this machine may use; a cluster brings its own.
        environment: variables of all worker processes.

    Raises:
        UsageError: the cluster refuses the token.
        NoRayError: anything else that may pass.
    """
    import ray

    if ray.is_initialized():
        return ray
    own = {} if address else {"num_cpus": num_cpus, "_temp_dir": _private_folder()}
    try:
        with kept_handlers():
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                # Processes that nobody asks; Ray Train misses only its clean-up after a dead
                # controller, and that of our own Ray takes the whole Ray down.
                include_dashboard=None if address else False,
                runtime_env={"env_vars": environment},
                **own,
            )
    except ray.exceptions.AuthenticationError as error:
        raise UsageError(
            f"Ray at {address or 'this machine'} refuses the token: set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN to that of the cluster"
        ) from error
    except Exception as error:
        raise NoRayError(
            f"the Ray cluster at {address} does not answer ({error}): correct Q2A_RAY_ADDRESS, or "
            "open its ports to this machine"
            if address
            else f"Ray does not start on this machine ({error}): free memory and space in "
            f"{tempfile.gettempdir()}, or set resources.backend=process"
        ) from error
    return ray


@cache
def _private_folder() -> str:
    """Make the folder of a Ray of our own; it goes when the process ends, however it ends.

    Ray lets everybody write into its folders and so exchange its sockets: they lie in one that
    other users can't enter.
    """
    folder = tempfile.mkdtemp(prefix="q2a-", dir=short_temporary_folder())
    end_children_with_this_process().delete_at_end(Path(folder))
    return f"{folder}/ray"


def short_temporary_folder() -> str:
    """Return the folder for temporary files, or `/tmp` where its path is too long for sockets."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= _LONGEST_PARENT else "/tmp"
