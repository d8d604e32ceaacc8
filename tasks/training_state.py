"""Training states in the store: written in two phases, verified on load, never unpickled.

A state is a folder of files and then `position.json`, which lists their digests. A state without
it, or with a file that differs, is skipped for the one before.
"""

import io
import json
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch
from torch import Tensor

from data_contracts.digest import digest_of_bytes
from infra.store import Store

_FOLDER = "scratch/states"
_POSITION = "position.json"
_KEPT = 2


class Trained(TypedDict):
    """What training made, the same for every strategy and number of workers: full CPU tensors."""

    parameters: dict[str, Tensor]
    """Trained parameters, by their names in the model. The others are those of the checkpoint
    that the stage began with."""
    optimizer: dict[str, dict[str, Tensor]]
    """By the same names what the optimizer keeps: of AdamW `exp_avg`, `exp_avg_sq`, `step`."""


@dataclass
class TrainingState:
    """Where a training run is. Random state needs no more: see `training`."""

    step: int = 0
    """Optimizer steps done, which is the position in the data plan."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """What was logged so far: `{"step", "metrics"}`."""
    window: dict[str, float] = field(default_factory=dict)
    """The meter's sums since the last log, so that the next average covers all its steps."""


def save_state(directory: Store, trained: Trained, state: TrainingState, folder: str = "") -> None:
    """Save what was trained, position and history; older states than the last two go."""
    place = folder or f"{_FOLDER}/{state.step:08d}"
    files = {
        "trained.pt": _to_bytes(trained["parameters"]),
        "optimizer.pt": _to_bytes(trained["optimizer"]),
        "history.json": json.dumps(state.history).encode(),
    }
    for name, data in files.items():
        directory.write_bytes(f"{place}/{name}", data)
    digests = {name: digest_of_bytes(data) for name, data in files.items()}
    position = {"step": state.step, "window": state.window, "sha256": digests}
    directory.write_text(f"{place}/{_POSITION}", json.dumps(position))
    for old in _saved_states(directory)[_KEPT:]:
        directory.delete(old)


def load_state(directory: Store) -> tuple[TrainingState, Trained | None]:
    """The newest whole state: where to continue and with what; step 0 and None where none is."""
    for place in _saved_states(directory):
        files = _read_whole(directory, place)
        if files is None:
            continue
        position = json.loads(files[_POSITION])
        history = json.loads(files["history.json"])
        trained = Trained(
            parameters=_from_bytes(files["trained.pt"]),
            optimizer=_from_bytes(files["optimizer.pt"]),
        )
        return TrainingState(position["step"], history, position["window"]), trained
    return TrainingState(), None


def _saved_states(directory: Store) -> list[str]:
    """Folders of finished states, the newest first."""
    found = [key for key in directory.list_keys(_FOLDER) if key.endswith("/" + _POSITION)]
    return [key.rsplit("/", 1)[0] for key in sorted(found, reverse=True)]


def _read_whole(directory: Store, place: str) -> dict[str, bytes] | None:
    """The files of a state, or None where one is missing or damaged."""
    position = directory.read_bytes(f"{place}/{_POSITION}")
    files = {_POSITION: position}
    for name, sha256 in json.loads(position)["sha256"].items():
        if not directory.exists(f"{place}/{name}"):
            return None
        files[name] = directory.read_bytes(f"{place}/{name}")
        if digest_of_bytes(files[name]) != sha256:
            return None
    return files


def _to_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _from_bytes(data: bytes) -> dict[str, Any]:
    """Tensors and plain values only: a pickle from the store is never executed."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return state
