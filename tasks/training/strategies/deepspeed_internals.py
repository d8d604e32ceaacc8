"""Reaches the parts of DeepSpeed that have no public name, and makes it ready for a worker.

Everything here may change with any release: a test compares the installed version with
`CHECKED_VERSION`. After an update, look these names up in DeepSpeed's sources, run the tests of the
strategies zero1 to zero3_offload (`pytest tests/tasks/training/strategies -k zero`), and raise it.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

CHECKED_VERSION = "0.19.8"


def import_deepspeed(device: str) -> Any:
    """Import the package for `device`, which it takes from these two variables alone.

    It looks for its accelerator when it is imported, so that comes as late as here.
    """
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["LOCAL_RANK"] = str(torch.device(device).index or 0)
    import deepspeed

    # Would be compiled at the first use; gloo does the same.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel("ERROR")
    return deepspeed


def norm_in_step(engine: Any) -> float:
    """Read the norm of the whole gradient during a step; the public one comes after it."""
    return float(engine.optimizer._global_grad_norm)


def shares(engine: Any, stage: int) -> Sequence[Tensor]:
    """Return the float32 shares of the parameters that this worker's optimizer steps on."""
    zero = engine.optimizer
    flat: Sequence[Tensor] = (
        zero.fp32_partitioned_groups_flat if stage == 3 else zero.single_partition_of_fp32_groups
    )
    return flat


def link_moments(engine: Any, stage: int) -> None:
    """Let `safe_get_full_optimizer_state` find the moments before the first step has been made."""
    if stage < 3:
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def share_size(parameter: nn.Parameter) -> int:
    """Count the elements of a parameter's share under stage 3, padding included."""
    return int(parameter.ds_tensor.numel())  # type: ignore[attr-defined]
