"""Schedules against their formulas, parameter groups, and the optimizer that is not there."""

import math
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from infra.compute.interface import Worker
from model.checkpoints.construct import ModelRecipe, build_model
from model.tokenizer import train_tokenizer
from model.tuning import TuningRecipe, apply_tuning
from tasks.training.objective import ObjectiveModule
from tasks.training.optimizer import OptimizerUnavailableError, build_optimizer, parameter_groups
from tasks.training.recipe import OptimizerRecipe
from tasks.training.strategies.choice import open_strategy


def recipe(**fields: Any) -> OptimizerRecipe:
    given_fields = {"steps": 10, "examples_per_step": 4, "learning_rate": 1.0, "warmup_steps": 2}
    return OptimizerRecipe.model_validate(given_fields | fields)


def test_without_a_word_the_rate_falls_linearly() -> None:
    assert [recipe().rate(step) for step in range(11)] == [
        0.5, 1.0, *(pytest.approx(left / 8) for left in range(8, -1, -1))
    ]  # fmt: skip


def test_a_cosine_falls_from_the_highest_rate_to_its_final_share() -> None:
    cosine = recipe(schedule={"kind": "cosine", "final_share": 0.1})
    assert [cosine.rate(step) for step in (1, 2)] == [1.0, 1.0]
    assert cosine.rate(6) == pytest.approx(0.55)
    assert cosine.rate(4) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert cosine.rate(10) == pytest.approx(0.1)


def test_wsd_stays_at_the_highest_rate_until_it_decays() -> None:
    wsd = recipe(schedule={"kind": "wsd", "decay_share": 0.5})
    assert [wsd.rate(step) for step in range(1, 7)] == [1.0] * 6
    assert [wsd.rate(step) for step in range(7, 11)] == pytest.approx([0.75, 0.5, 0.25, 0.0])


@given(st.sampled_from(["linear", "cosine", "wsd"]), st.integers(1, 300), st.integers(0, 400))
def test_no_schedule_leaves_zero_to_the_highest_rate_or_rises_after_warm_up(
    kind: str, steps: int, warmup: int
) -> None:
    found = recipe(steps=steps, warmup_steps=warmup, schedule={"kind": kind})
    rates = [found.rate(step) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    falling = rates[warmup:]
    assert falling == sorted(falling, reverse=True)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValidationError, match="'linear', 'cosine', 'wsd'"):
        recipe(schedule={"kind": "step"})


@pytest.fixture(scope="module")
def adapted() -> nn.Module:
    tokenizer = train_tokenizer(["some words to hear"] * 3, 300, ["en"])
    model: nn.Module = build_model(
        ModelRecipe(
            audio_layers=1, audio_width=16, audio_heads=2, audio_ffn=16, text_layers=1,
            text_width=16, text_heads=2, text_kv_heads=2, text_ffn=16, vocab_size=320,
        ),
        tokenizer,
    )  # fmt: skip
    apply_tuning(model, TuningRecipe(audio_encoder="lora", language_model="lora"), seed=0)
    return model


@pytest.mark.parametrize(
    ("factors", "projector", "encoder_adapters", "text_adapters"),
    [
        ({}, 1.0, 1.0, 1.0),
        ({"adapters": 5.0}, 1.0, 5.0, 5.0),
        ({"audio_encoder": 0.1, "projector": 2.0}, 2.0, 0.1, 1.0),
        ({"audio_encoder": 0.1, "adapters": 5.0}, 1.0, 5.0, 5.0),
    ],
)
def test_adapters_have_a_rate_of_their_own_or_their_parts(
    adapted: nn.Module,
    factors: dict[str, float],
    projector: float,
    encoder_adapters: float,
    text_adapters: float,
) -> None:
    names = {id(parameter): name for name, parameter in adapted.named_parameters()}
    found = {
        names[id(parameter)]: group["factor"]
        for group in parameter_groups(adapted, recipe(rate_factors=factors))
        for parameter in group["params"]
    }
    assert found["model.multi_modal_projector.linear.weight"] == projector
    adapters = {name: factor for name, factor in found.items() if ".lora_" in name}
    assert {f for n, f in adapters.items() if "audio_tower" in n} == {encoder_adapters}
    assert {f for n, f in adapters.items() if "language_model" in n} == {text_adapters}
    assert set(found) == {n for n, p in adapted.named_parameters() if p.requires_grad}


def test_8_bit_moments_without_their_package_are_refused(
    monkeypatch: pytest.MonkeyPatch, adapted: nn.Module
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(OptimizerUnavailableError, match=r"bitsandbytes.*Set optimizer to adamw"):
        build_optimizer(adapted, recipe(optimizer="adamw_8bit"))


def test_8_bit_moments_in_shares_are_refused(adapted: Any) -> None:
    module = ObjectiveModule(adapted, None, "float32")  # type: ignore[arg-type]
    with pytest.raises(OptimizerUnavailableError, match="fsdp2 would cut"):
        open_strategy("fsdp2", module, recipe(optimizer="adamw_8bit"), Worker(0, 2), None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_8_bit_moments_without_a_gpu_are_refused(
    monkeypatch: pytest.MonkeyPatch, adapted: nn.Module
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", math)  # stands for the package
    with pytest.raises(OptimizerUnavailableError, match="needs a GPU; the model is on cpu"):
        build_optimizer(adapted, recipe(optimizer="adamw_8bit"))
