"""Builds the optimizer: which parameters it changes, and at which rate."""

from importlib import import_module
from typing import Any

import torch
from torch import nn

from model.parts import part_of
from tasks.training.recipe import OptimizerRecipe

_BETAS = (0.9, 0.98)
_EPSILON = 1e-8


class OptimizerUnavailableError(RuntimeError):
    """The recipe's optimizer can't run here."""


def build_optimizer(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """Build AdamW over the trained parameters, with moments in float32 or in 8 bits.

    Raises:
        OptimizerUnavailableError: 8 bits, without bitsandbytes or for a model that is not on a GPU.
    """
    kind: Any = torch.optim.AdamW
    if recipe.optimizer == "adamw_8bit":
        kind = _adamw_8bit(model)
    groups = parameter_groups(model, recipe)
    optimizer: torch.optim.Optimizer = kind(
        groups, lr=recipe.learning_rate, betas=_BETAS, eps=_EPSILON
    )
    return optimizer


def parameter_groups(model: nn.Module, recipe: OptimizerRecipe) -> list[dict[str, Any]]:
    """Group trained parameters by learning rate and weight decay, which only matrices have.

    An adapter's rate is that of `adapters` where the recipe names them, else its part's.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
            factors = recipe.rate_factors
            factor = factors.get(part_of(name), 1.0)
            if ".lora_" in name:
                factor = factors.get("adapters", factor)
            groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the learning rate `rate` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def _adamw_8bit(model: nn.Module) -> Any:
    remedy = "Set optimizer to adamw, or run where both are."
    try:
        bitsandbytes = import_module("bitsandbytes")
    except ImportError as error:
        raise OptimizerUnavailableError(
            f"the optimizer adamw_8bit needs the package bitsandbytes ({error}) and a GPU. {remedy}"
        ) from error
    device = next(model.parameters()).device
    if device.type != "cuda":
        raise OptimizerUnavailableError(
            f"the optimizer adamw_8bit needs a GPU; the model is on {device}. {remedy}"
        )
    return bitsandbytes.optim.AdamW8bit
