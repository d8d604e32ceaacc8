"""Chooses how the parts of the model are trained: fully, with low-rank adapters (peft), or not."""

from typing import Literal, get_args

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from pydantic import Field
from transformers import Qwen2AudioForConditionalGeneration

from data_contracts.recipe import Recipe
from model.parts import Part, part_of

Method = Literal["full", "lora", "frozen"]

_ADAPTED: dict[Part, tuple[str, str]] = {
    "audio_encoder": ("model.audio_tower", "q_proj|k_proj|v_proj|out_proj|fc1|fc2"),
    "language_model": (
        "model.language_model",
        "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj",
    ),
}
"""Matrices that get an adapter: all of the layers, not embeddings, head and convolutions."""


class TuningRecipe(Recipe):
    """How each part is trained; part of a stage's identity."""

    audio_encoder: Method = "full"
    """How the audio encoder learns: all weights, low-rank adapters alone, or not at all."""
    projector: Literal["full", "frozen"] = "full"
    """How the projector learns: all weights, or not at all."""
    language_model: Method = "full"
    """How the language model learns: all weights, low-rank adapters alone, or not at all."""
    lora_rank: int = Field(16, ge=1)
    """Inner width of the adapters."""
    lora_alpha: int = Field(32, ge=1)
    """Scale of the adapters, times the rank: they are multiplied by alpha / rank."""

    @property
    def is_adapter(self) -> bool:
        """Whether all that is learnt fits into an adapter: its matrices, and the projector."""
        methods = {self.audio_encoder, self.language_model}
        return "lora" in methods and "full" not in methods


def apply_tuning(
    model: Qwen2AudioForConditionalGeneration, recipe: TuningRecipe, seed: int
) -> None:
    """Freeze parts of `model` and put adapters into others, in place.

    The output is unchanged: an adapter starts at zero (Hu et al. 2021, section 4.1). Layers keep
    their class names and positions, so that the packed forward works as before.

    Args:
        seed: for the random halves of the adapters; the global random state stays untouched.

    Raises:
        ValueError: every part is frozen.
    """
    methods: dict[Part, Method] = {part: getattr(recipe, part) for part in get_args(Part)}
    if set(methods.values()) == {"frozen"}:
        raise ValueError(
            "tuning freezes audio_encoder, projector and language_model; at least one part must "
            "learn. Set one of them to full, or to lora."
        )
    adapted = [_ADAPTED[part] for part, method in methods.items() if method == "lora"]
    if adapted:
        targets = "|".join(rf"{prefix}\..*\.({names})" for prefix, names in adapted)
        config = LoraConfig(
            r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, target_modules=f"({targets})"
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model)
    positions = model.model.audio_tower.embed_positions.weight
    for name, parameter in model.named_parameters():
        method = methods[part_of(name)]
        trained = ".lora_" in name if method == "lora" else method == "full"
        parameter.requires_grad_(trained and parameter is not positions)


def merge_adapters(model: Qwen2AudioForConditionalGeneration) -> None:
    """Add every adapter to the matrix that it adapts, and remove it, in place.

    Afterwards the model has the layout, and up to rounding the output, of a plain checkpoint.
    """
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in layers:
        layer.merge(safe_merge=True)
        model.set_submodule(name, layer.get_base_layer())
