"""The memory model against figures worked out by hand, real models, and what must always hold."""

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from data_contracts.training_choices import OptimizerName, Precision, StrategyName
from model.costs.flops import StepSizes
from model.costs.memory import (
    TrainingMemory,
    TrainingPlan,
    not_in_the_loop,
    state_bytes,
    training_memory,
)
from model.costs.shapes import (
    ParameterCount,
    count_parameters,
    published_config,
    released_shape,
    towers_shape,
)
from model.tuning import Method, TuningRecipe, apply_tuning

PUBLISHED = released_shape(published_config("s3://bucket/Qwen2-Audio-7B-Instruct/") or {})
SMALL = towers_shape(published_config("whisper-tiny") or {}, published_config("Qwen2-0.5B") or {})
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)


def clips(count: int) -> StepSizes:
    """Transcribed clips of 7.6 s: 190 audio tokens of 214, 24 labels."""
    return StepSizes(214 * count, count * 214**2 / 2, 24 * count, (380,) * count)


def plan(
    tuning: TuningRecipe | None = None,
    precision: Precision = "float32",
    optimizer: OptimizerName = "adamw",
    strategy: StrategyName = "ddp",
    workers: int = 1,
    checkpointing: bool = False,
    micro_batches: int = 1,
) -> TrainingPlan:
    return TrainingPlan(
        tuning or TuningRecipe(),
        precision,
        optimizer,
        strategy,
        workers,
        checkpointing,
        micro_batches,
        device="cuda",
    )


def memory(config: Qwen2AudioConfig, num_clips: int, given: TrainingPlan) -> TrainingMemory:
    return training_memory(config, count_parameters(config, given.tuning), clips(num_clips), given)


def test_the_published_shape_counts_as_by_hand() -> None:
    found = count_parameters(PUBLISHED, TuningRecipe())
    text_layer = 4 * 4096 * 4096 + 3 * 4096 * 11_008 + 3 * 4096 + 2 * 4096
    audio_layer = 4 * 1280 * 1280 + 2 * 1280 * 5120 + 3 * 1280 + 5120 + 1280 + 4 * 1280
    vocabulary = 156_032 * 4096
    convolutions = 3 * 128 * 1280 + 1280 + 3 * 1280 * 1280 + 1280
    positions = 1500 * 1280
    projector = 1280 * 4096 + 4096
    assert found.largest_layer == text_layer
    assert found.largest_trained == vocabulary
    assert found.frozen == positions
    outside = 2 * vocabulary + convolutions + positions + projector + 4096 + 2 * 1280
    assert found.outside_layers == outside
    assert found.total == 32 * (text_layer + audio_layer) + outside
    assert found.total == pytest.approx(8.4e9, rel=1e-3)


def test_the_published_shape_takes_what_the_reference_page_says() -> None:
    """134 GB for float32 Adam, 67 with split weights and 8-bit moments, 52 inside the backward
    pass, 19 for adapters of rank 64 in the language model.
    """
    whole = count_parameters(PUBLISHED, TuningRecipe())
    assert state_bytes(whole, "ddp", 1, "adamw").accelerator / 1e9 == pytest.approx(134, abs=0.5)
    _, split, inside = not_in_the_loop(whole).values()
    assert split / 1e9 == pytest.approx(67, abs=0.5)
    assert inside / 1e9 == pytest.approx(52, abs=0.5)
    adapters = TuningRecipe(audio_encoder="frozen", language_model="lora", lora_rank=64)
    mixed, *_ = not_in_the_loop(count_parameters(PUBLISHED, adapters)).values()
    assert mixed / 1e9 == pytest.approx(19, abs=0.5)


@pytest.mark.parametrize(
    ("strategy", "bytes_a_parameter"),
    [("ddp", 16 + 4), ("zero1", 4 + 4 + 12 / 64), ("zero2", 4 + 16 / 64), ("zero3", 20 / 64)],
)
def test_strategies_divide_what_the_paper_says_they_divide(
    strategy: StrategyName, bytes_a_parameter: float
) -> None:
    """With 4 + 4 + 8 bytes, and DeepSpeed's copy of what it steps on, over 64 workers."""
    count = 10_000_000_000
    whole = ParameterCount(0, count, count, 0, 1, 1, 1)
    found = state_bytes(whole, strategy, 64, "adamw")
    buffers = {"ddp": 0.0, "zero1": 2e9, "zero2": 2e9, "zero3": 2e9 + 4e9}[strategy]
    assert found.accelerator - buffers == pytest.approx(bytes_a_parameter * count)
    assert found.host == 0


def test_moments_in_8_bits_take_a_quarter() -> None:
    """And a scale in float32 for each 256 of them."""
    whole = count_parameters(PUBLISHED, TuningRecipe())
    full, small = (state_bytes(whole, "ddp", 1, name) for name in get_args(OptimizerName))
    assert small.optimizer == pytest.approx(full.optimizer * (1 / 4 + 1 / 256), rel=1e-6)
    assert (small.weights, small.gradients) == (full.weights, full.gradients)


def test_offloaded_state_lies_with_the_host() -> None:
    whole = count_parameters(PUBLISHED, TuningRecipe())
    kept, offloaded = (state_bytes(whole, s, 8, "adamw") for s in ("zero3", "zero3_offload"))
    assert offloaded.accelerator == kept.exchange
    assert offloaded.host + offloaded.accelerator == kept.accelerator


@pytest.mark.parametrize("text", ["full", "lora", "frozen"])
@pytest.mark.parametrize("audio", ["full", "lora", "frozen"])
def test_the_state_is_that_of_a_real_model_and_its_optimizer(
    model: Qwen2AudioForConditionalGeneration, text: Method, audio: Method
) -> None:
    tuning = TuningRecipe(audio_encoder=audio, language_model=text, lora_rank=4)
    count = count_parameters(model.config, tuning)
    apply_tuning(model, tuning, seed=0)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = [
        value for state in optimizer.state.values() for value in state.values() if value.dim()
    ]
    found = state_bytes(count, "ddp", 1, "adamw")
    assert found.weights == sum(p.nbytes for p in model.parameters())
    assert found.gradients == sum(p.grad.nbytes for p in trained if p.grad is not None)
    assert found.optimizer == sum(value.nbytes for value in moments)


def test_the_peak_of_a_step_by_hand() -> None:
    """All gradients are there when the second micro-batch has its loss."""
    found = memory(PUBLISHED, 1, plan(micro_batches=2))
    kept = found.activations
    state = 16 * 8_395_174_912 + 4 * 1_920_000
    assert found.moment in ("loss", "backward begins", "optimizer")
    # On a GPU, AdamW computes on all tensors at once.
    assert found.peak == state + max(4 * 8_395_174_912, kept.peak)


def test_copies_of_weights_are_gone_when_gradients_are_whole() -> None:
    single, half = (memory(SMALL, 1, plan(precision=p)) for p in get_args(Precision))
    count = count_parameters(SMALL, TuningRecipe())
    assert half.copies == 2 * count.trained_products
    assert single.copies == 0
    assert half.moment == single.moment == "optimizer"
    assert half.peak == single.peak


METHODS = st.sampled_from(get_args(Method))
PLANS = st.builds(
    plan,
    tuning=st.builds(TuningRecipe, audio_encoder=METHODS, language_model=METHODS),
    precision=st.sampled_from(get_args(Precision)),
    optimizer=st.sampled_from(get_args(OptimizerName)),
    strategy=st.sampled_from(STRATEGIES),
    workers=st.sampled_from([1, 2, 3, 8, 64]),
    checkpointing=st.booleans(),
    micro_batches=st.sampled_from([1, 2]),
)


@settings(max_examples=15)
@given(PLANS, st.integers(1, 100))
def test_more_work_or_fewer_workers_never_take_less(given_plan: TrainingPlan, count: int) -> None:
    def peak(num_clips: int = count, **changes: Any) -> int:
        changed = replace(given_plan, **changes)
        return training_memory(SMALL, counted, clips(num_clips), changed).peak

    counted = count_parameters(SMALL, given_plan.tuning)

    here = peak()
    assert peak(2 * count) >= here
    assert peak(micro_batches=2) >= peak(micro_batches=1)
    if given_plan.workers > 1:
        assert peak(workers=2 * given_plan.workers) <= here
        assert peak(strategy="zero2") <= peak(strategy="zero1")
        assert peak(strategy="zero3_offload") <= peak(strategy="zero3")
    # With moments of 8 bits, what these need besides may outweigh what they save of a small model.
    full_moments: dict[str, Any] = {"optimizer": "adamw"}
    assert peak(checkpointing=True, **full_moments) <= peak(checkpointing=False, **full_moments)
    if given_plan.workers > 1:
        assert peak(strategy="zero1", **full_moments) <= peak(strategy="ddp", **full_moments)
    whole = replace(given_plan, tuning=TuningRecipe())
    assert memory(SMALL, count, whole).peak >= here
