"""Reads pre-trained tensors from a folder: none missing, none left over, none of another shape."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data_contracts.errors import DataError

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"
_FLOATS = ("BF16", "F16", "F32", "F64")
"""safetensors' names of the types that are converted to float32."""
_LISTED = 5
"""Number of names that an error lists of each kind."""

Sources = Mapping[str, Mapping[str, torch.Size]]
"""For each tensor on disk the names and shapes of the parameters that lie in it, stacked along its
first axis. Mostly one."""


class CheckpointError(DataError, ValueError):
    """A folder does not hold the checkpoint that is expected there."""


def read_config(directory: Path, model_types: Collection[str]) -> dict[str, Any]:
    """Read `config.json` of a checkpoint in transformers' layout.

    Args:
        model_types: architectures that the caller can read, as `config.json` names them.

    Raises:
        CheckpointError: the folder or file is missing or unreadable, the architecture differs,
            weights are quantised, or there is an adapter beside them.
    """
    wanted = " or ".join(model_types)
    if not directory.is_dir():
        raise CheckpointError(
            f"there is no folder {directory}; a checkpoint folder of {wanted} is wanted. Give the "
            "local folder: nothing is downloaded."
        )
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model_type = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} can't be read as a configuration of {wanted} ({error!r}). Give a folder that "
            "save_pretrained of transformers has written, or a snapshot of a published model."
        ) from error
    if model_type not in model_types:
        raise CheckpointError(
            f"{directory} holds a {model_type!r} checkpoint; {wanted} is wanted. Give another "
            "folder."
        )
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    if any("quantization_config" in part for part in parts):
        raise CheckpointError(
            f"the weights in {directory} are quantised; they are read in floating point alone. "
            "Give the checkpoint that they were made from."
        )
    if (directory / _ADAPTER).exists():
        raise CheckpointError(
            f"{directory} has {_ADAPTER} beside the weights; weights are read without adapters. "
            "Merge the adapter (merge_and_unload of peft) and write the model with "
            "save_pretrained, or give a folder without it."
        )
    return dict(config)


@contextmanager
def refusing_config(directory: Path) -> Iterator[None]:
    """Raise what transformers makes of an impossible `config.json` as a `CheckpointError`.

    For building on the meta device, where nothing else can fail.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # of many types: its checks come from several libraries
        reason = " ".join(str(error).split())  # some have many lines
        raise CheckpointError(
            f"{directory / 'config.json'} describes no network that can be built "
            f"({type(error).__name__}: {reason}). Give the config.json that belongs to the weights."
        ) from error


def tensor_files(directory: Path) -> dict[str, Path]:
    """Find the file of each tensor of a checkpoint.

    Raises:
        CheckpointError: there is no safetensors file, or one is missing or damaged.
    """
    is_single = (directory / _SINGLE).is_file()
    if not is_single and not (directory / _INDEX).is_file():
        raise CheckpointError(
            f"{directory} has neither {_SINGLE} nor {_INDEX}; weights are read from "
            "safetensors alone, a pickle could run anything. Open the model in transformers "
            "where it is trusted and write it again with save_pretrained."
        )
    try:
        files = [directory / _SINGLE] if is_single else _shards(directory)
        file_of: dict[str, Path] = {}
        for file in files:
            with safe_open(file, framework="pt") as tensors:
                file_of.update(dict.fromkeys(tensors.keys(), file))
    except (
        OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"the weights in {directory} can't be read ({error}). Copy the folder again."
        ) from error
    return file_of


def _shards(directory: Path) -> list[Path]:
    """Return the files that the index names, all in its own folder."""
    index = json.loads((directory / _INDEX).read_text(encoding="utf-8"))
    names = sorted(set(index["weight_map"].values()))
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"{_INDEX} names {outside[0]!r}, which is no file of this folder")
    return [directory / name for name in names]


def read_tensors(directory: Path, sources: Sources, ignored: str) -> dict[str, Tensor]:
    """Read every parameter in `sources` as float32, each in memory of its own.

    Args:
        directory: with `model.safetensors`, or shards and their index.
        sources: tensors that must be there, all of them.
        ignored: regular expression of other names that may be there.

    Raises:
        CheckpointError: tensors are missing, left over, or of another shape or type; lists them.
    """
    files = tensor_files(directory)
    unexpected = [name for name in files if name not in sources and not re.search(ignored, name)]
    missing = [name for name in sources if name not in files]
    wrong = []
    for name in sources.keys() & files.keys():
        with safe_open(files[name], framework="pt") as tensors:
            header = tensors.get_slice(name)
        shape, expected = tuple(header.get_shape()), stacked_shape(sources[name])
        if shape != expected or header.get_dtype() not in _FLOATS:
            wrong.append(f"{name} ({header.get_dtype()} {shape}, expected float {expected})")
    refuse_gaps(
        directory,
        [f"{name} {stacked_shape(sources[name])}" for name in missing],
        unexpected,
        wrong,
    )
    return {
        part: tensor
        for name, parts in sources.items()
        for part, tensor in _read_parts(files[name], name, parts)
    }


def refuse_gaps(
    directory: Path, missing: Collection[str], unexpected: Collection[str], wrong: Collection[str]
) -> None:
    """Raise a CheckpointError that lists the first names of each kind, if there are any."""
    kinds = {"missing": missing, "left over": unexpected, "of another shape or type": wrong}
    parts = []
    for kind, names in kinds.items():
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            parts.append(f"{len(names)} {kind}: {', '.join(sorted(names)[:_LISTED])}{more}")
    if parts:
        raise CheckpointError(
            f"the tensors in {directory} don't fit its config.json: {'; '.join(parts)}. Every "
            "tensor must be accounted for: give the complete checkpoint and its own config.json."
        )


def stacked_shape(parts: Mapping[str, torch.Size]) -> tuple[int, ...]:
    """Shape of a tensor that stacks `parts` along its first axis."""
    shapes = list(parts.values())
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _read_parts(file: Path, name: str, parts: Mapping[str, torch.Size]) -> list[tuple[str, Tensor]]:
    with safe_open(file, framework="pt") as tensors:
        stacked = tensors.get_tensor(name)
    split = stacked.split([shape[0] for shape in parts.values()])
    # A copy in any case: what safetensors returns may be a view of the file.
    copies = [part.to(torch.float32, copy=True) for part in split]
    return list(zip(parts, copies, strict=True))
