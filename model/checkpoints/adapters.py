"""Adapters in peft's layout: ours open there, theirs are merged here into the model they adapt."""

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

import safetensors.torch
from peft import LoraConfig, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.checkpoints.checkpoint import load_checkpoint
from model.checkpoints.weights import CheckpointError, refuse_gaps

_CONFIG = "adapter_config.json"
_TENSORS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PROJECTOR = "multi_modal_projector"
_OLDER_NAMES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "audio_tower.": "model.audio_tower.",
    f"{_PROJECTOR}.": f"model.{_PROJECTOR}.",
}
"""Beginnings of names of modules before transformers 5.x moved them, and those of today."""
_PLAIN_STARTS = (True, False, "gaussian")
"""Values of `init_lora_weights` that leave the adapted matrices as they were."""


def save_adapter(directory: Path, model: Qwen2AudioForConditionalGeneration) -> None:
    """Write what `model` has learnt beside its start, as `PeftModel.from_pretrained` reads it.

    The folder names no base: `from_pretrained` is given the model that the training began with.

    Args:
        model: with the adapters of a `TuningRecipe` whose `is_adapter` holds, not merged.
    """
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    whole = [_PROJECTOR] if any(_PROJECTOR in name for name in learnt) else None
    config: LoraConfig = copy(model.peft_config["default"])
    config.modules_to_save, config.inference_mode = whole, True
    tensors = {
        _PREFIX + name.replace(".default.", "."): p.detach().contiguous()
        for name, p in learnt.items()
    }
    directory.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(directory))
    safetensors.torch.save_file(tensors, directory / _TENSORS, metadata={"format": "pt"})


def is_adapter(directory: Path) -> bool:
    """Return whether a folder holds an adapter, and no model of its own."""
    return (directory / _CONFIG).is_file() and not (directory / "config.json").exists()


def base_of(directory: Path) -> str | None:
    """Return the name of the model that an adapter was made for, where the adapter says it.

    Raises:
        CheckpointError: like `load_adapted`.
    """
    name = _read_config(directory).get("base_model_name_or_path")
    return str(name) if name else None


def load_adapted(
    directory: Path, base: Path
) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
    """Load a checkpoint and merge an adapter into it; the rest is as in `load_checkpoint`.

    Args:
        directory: with `adapter_config.json` and `adapter_model.safetensors`, of this package, of
            peft, or of a trainer that uses peft.
        base: folder of the checkpoint that the adapter was made for.

    Raises:
        CheckpointError: either folder does not hold what is expected there, the adapter is no
            LoRA, or its tensors don't fit the checkpoint.
        ValueError: the language model has a sliding window.
    """
    values, tensors = _read_config(directory), _read_tensors(directory)
    model, processor = load_checkpoint(base)
    positions = model.model.audio_tower.embed_positions.weight
    # The tensors say what is adapted; the patterns of the configuration may mean older names.
    modules = {name.rpartition(".lora_")[0] for name in tensors if ".lora_" in name}
    values |= {"target_modules": sorted(name.removeprefix(_PREFIX) for name in modules)}
    try:
        adapted = get_peft_model(model, LoraConfig(**values))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the adapter in {directory} can't be put into the checkpoint in {base} "
            f"({' '.join(str(error).split())[:300]}). Give the checkpoint that it was made for, "
            "and an adapter that peft has saved."
        ) from error
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    both = expected.keys() & tensors.keys()
    wrong = [
        f"{name} ({tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)})"
        for name in both
        if tensors[name].shape != expected[name].shape
    ]
    refuse_gaps(directory, expected.keys() - both, tensors.keys() - both, wrong)
    set_peft_model_state_dict(adapted, tensors)
    merged: Qwen2AudioForConditionalGeneration = adapted.merge_and_unload(safe_merge=True)
    for parameter in merged.parameters():  # peft has frozen them
        parameter.requires_grad_(parameter is not positions)
    return merged.eval(), processor


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / _CONFIG
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind, start = values.pop("peft_type"), values.get("init_lora_weights", True)
    except (OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} can't be read as the configuration of an adapter ({error!r}). Give a folder "
            "that save_pretrained of peft has written."
        ) from error
    if kind != "LORA" or start not in _PLAIN_STARTS:
        raise CheckpointError(
            f"{path} has peft_type {kind!r} and init_lora_weights {start!r}; adapters are read as "
            f"plain LoRA (LORA, one of {_PLAIN_STARTS}). Merge it where it was made "
            "(merge_and_unload of peft) and give the merged checkpoint."
        )
    return values


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    """Read an adapter's tensors as float32, by the names that modules have now."""
    path = directory / _TENSORS
    if not path.is_file():
        raise CheckpointError(
            f"{directory} has no {_TENSORS}; adapters are read from safetensors alone, a pickle "
            "could run anything. Open it in peft where it is trusted and save it again."
        )
    try:
        tensors: Mapping[str, Tensor] = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} can't be read ({error}). Copy the folder again.") from error
    return {_name_of_today(name): tensor.float() for name, tensor in tensors.items()}


def _name_of_today(name: str) -> str:
    inner = name.removeprefix(_PREFIX)
    for old, new in _OLDER_NAMES.items():
        if inner.startswith(old):
            return _PREFIX + new + inner.removeprefix(old)
    return name
