"""Holds training states and their files: safetensors and JSON, nothing that can execute."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import safetensors.torch
from torch import Tensor

PARAMETERS = "parameters.safetensors"
OPTIMIZER = "optimizer.safetensors"
HISTORY = "history.json"


class Trained(TypedDict):
    """Tensors that training changed, whole and on the CPU, the same for every strategy."""

    parameters: dict[str, Tensor]
    """Trained parameters, by their names in the model. The others are those of the checkpoint
    that the stage began with."""
    optimizer: dict[str, dict[str, Tensor]]
    """By the same names the optimizer's state: `exp_avg`, `exp_avg_sq`, `step` of AdamW."""


@dataclass
class TrainingState:
    """Position of a training. Random state needs no more: see `fit.py`."""

    step: int = 0
    """Steps of the data plan that are done, which is the position in it."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Logs so far: `{"step", "metrics"}`."""
    held_out: list[dict[str, Any]] = field(default_factory=list)
    """What early evaluation logged, in the same form. How often it asks is no part of the recipe,
    so the artifact's history does not have it."""
    window: dict[str, float] = field(default_factory=dict)
    """The meter's sums since the last log, so that the next average covers all its steps."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The newest value of every metric, by which the best states are found."""
    watch: dict[str, list[float]] = field(default_factory=dict)
    """What the watch remembers: see `guards/divergence.py`."""
    audited: int = 0
    """Steps whose consumed examples were compared with the plan: see `guards/audit.py`."""


def to_files(trained: Trained, state: TrainingState) -> dict[str, bytes]:
    """Make the files of a state; the bytes are copies, so that training may go on at once."""
    flat = {
        f"{name}/{kind}": tensor
        for name, tensors in trained["optimizer"].items()
        for kind, tensor in tensors.items()
    }
    return {
        PARAMETERS: safetensors.torch.save(_contiguous(trained["parameters"])),
        OPTIMIZER: safetensors.torch.save(_contiguous(flat)),
        HISTORY: json.dumps(state.history).encode(),
    }


def from_files(files: Mapping[str, Path]) -> Trained:
    """Map the tensors of a state from its files: whoever keeps or changes one needs a copy.

    Raises:
        SafetensorError: a file is something else, such as a pickle, which is never executed.
    """
    parameters = safetensors.torch.load_file(files[PARAMETERS])
    optimizer: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    for key, tensor in safetensors.torch.load_file(files[OPTIMIZER]).items():
        name, _, kind = key.rpartition("/")
        optimizer[name][kind] = tensor
    return Trained(parameters=parameters, optimizer=optimizer)


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
