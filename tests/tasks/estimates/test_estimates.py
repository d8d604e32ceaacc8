"""What a plan says a stage takes, against hand calculations and what must always hold."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2AudioConfig

from infra.compute.hardware import GIB
from infra.compute.resources import Resources
from model.costs.shapes import count_parameters, published_config, released_shape, towers_shape
from model.tuning import TuningRecipe
from tasks.collect_preferences import CollectRecipe
from tasks.conversations.suites import num_suites
from tasks.conversations.task_table import shipped_tasks
from tasks.estimates.answering_cost import estimate_evaluation, estimate_preferences
from tasks.estimates.estimate import USABLE, Estimate, ExampleSize, Premises, in_turn
from tasks.estimates.training_cost import estimate_training
from tasks.evaluate import EvaluateRecipe
from tasks.ingest import IngestRecipe
from tasks.objectives.alignment import AlignmentRecipe
from tasks.training.recipe import OptimizerRecipe

PUBLISHED = released_shape(published_config("Qwen2-Audio-7B") or {})
SMALL = towers_shape(published_config("whisper-tiny") or {}, published_config("smollm2-135m") or {})
H100: dict[str, Any] = {
    "accelerator": "H100",
    "gpus_per_worker": 1,
    "num_workers": 1,
    "share_of_peak": 0.5,
    "price_per_gpu_hour": 2.0,
}
CLIP = ExampleSize(audio_seconds=8.0, prompt_tokens=14, answer_tokens=24)


def optimizer(**changes: Any) -> OptimizerRecipe:
    values = {
        "steps": 1000,
        "examples_per_step": 64,
        "learning_rate": 1e-4,
        "warmup_steps": 0,
        "precision": "bfloat16",
    }
    return OptimizerRecipe.model_validate(values | changes)


def premises(
    resources: Resources,
    config: Qwen2AudioConfig = PUBLISHED,
    key: str = "pretrain",
    ingest: IngestRecipe | None = None,
) -> Premises:
    return Premises(key, config, resources, CLIP, ingest or IngestRecipe(), checkpoints=3)


def estimate(config: Qwen2AudioConfig = PUBLISHED, **resources: Any) -> Estimate:
    return estimate_training(
        premises(Resources.model_validate(H100 | resources), config), optimizer(), TuningRecipe()
    )


def test_hours_and_cost_of_a_stage_by_hand() -> None:
    """6 operations a parameter and token in the language model and a position in the encoder."""
    result = estimate(num_workers=8)
    text = 32 * (4 * 4096**2 + 3 * 4096 * 11_008)
    audio = 32 * (4 * 1280**2 + 2 * 1280 * 5120)
    tokens, positions = 200 + 14 + 24, 400
    products = 6 * (text * tokens + audio * positions + 24 * 4096 * 156_032)
    assert result.examples == 64_000
    assert result.tokens == 64_000 * tokens
    assert result.audio_hours == pytest.approx(64_000 * 8 / 3600)
    # Attention, the convolutions and the projector are the rest.
    assert products < result.flops / 64_000 < 1.05 * products
    assert result.hours == pytest.approx(result.flops / (8 * 0.5 * 989e12) / 3600)
    assert result.gpu_hours == pytest.approx(8 * result.hours)
    assert result.cost == pytest.approx(2.0 * result.gpu_hours)


def test_alignment_is_counted_by_hand_and_passes_the_audio_side_alone() -> None:
    """6 operations a parameter and position of the encoder, none of the language model's."""
    tuning = AlignmentRecipe(optimizer=optimizer()).tuning
    one, key = Resources.model_validate(H100), "pretrain.alignment"
    result = estimate_training(premises(one, key=key), optimizer(), tuning, 0)
    assert result.tokens == 0
    assert (result.steps, result.examples) == (1000, 64_000)
    products = 6 * 32 * (4 * 1280**2 + 2 * 1280 * 5120) * 400
    # Attention, the convolutions and the projector are the rest.
    assert products < result.flops / 64_000 < 1.1 * products
    trained = count_parameters(PUBLISHED, tuning).trained
    assert result.memory_gib["gradients"] == pytest.approx(4 * trained / GIB)
    assert result.memory_gib["logits"] == 0
    assert result.memory_gib["copies"] < 2 * trained / GIB
    small = one.model_copy(update={"memory_per_worker_gib": result.peak_gib})
    tight = estimate_training(premises(small, key=key), optimizer(), tuning, 0)
    assert any("--set pretrain.alignment.audio_encoder=lora: " in note for note in tight.notes)
    both = in_turn(result, estimate())
    assert both.steps == 2000
    assert both.hours == pytest.approx(result.hours + estimate().hours)
    assert both.cost == pytest.approx(2.0 * both.gpu_hours)
    assert (both.peak_gib, both.fits) == (estimate().peak_gib, False)


def test_without_a_price_or_a_gpu_no_cost_is_stated() -> None:
    assert estimate(price_per_gpu_hour=None).cost is None
    assert estimate(gpus_per_worker=0).cost is None


def test_checkpointing_costs_a_third_more_and_holds_less() -> None:
    kept, again = estimate(), estimate(activation_checkpointing=True)
    assert 1.25 < again.flops / kept.flops < 1.34
    assert again.memory_gib["kept"] < kept.memory_gib["kept"] / 5


def test_the_published_shape_does_not_fit_one_card_and_the_plan_says_what_helps() -> None:
    result = estimate()
    assert result.fits is False
    assert result.peak_gib > 16 * count_parameters(PUBLISHED, TuningRecipe()).trained / GIB
    needs, *remedies = result.notes
    assert needs.startswith(f"needs {result.peak_gib:.0f} GiB, {USABLE * 79:.0f} are usable")
    fitting = [line for line in remedies if line.endswith(": fits")]
    assert any("--set pretrain.tuning.language_model=lora" in line for line in fitting)
    assert any("--set resources.strategy=fsdp2" in line for line in fitting)
    assert remedies[-1].startswith("not in the training loop: the same, updated inside")


def test_each_remedy_keeps_its_promise() -> None:
    checkpointing = "--set resources.activation_checkpointing=true: "
    (line,) = (line for line in estimate().notes if line.startswith(checkpointing))
    there = estimate(activation_checkpointing=True).peak_gib
    assert f"then {there:.0f}:" in line


def test_a_card_of_unknown_size_has_no_verdict() -> None:
    assert estimate(accelerator="cpu").fits is None
    assert estimate(accelerator="cpu", memory_per_worker_gib=1000).fits is True
    assert estimate(memory_per_worker_gib=1000).notes == ()


@settings(max_examples=8)
@given(
    workers=st.sampled_from([2, 4, 64]),
    budget=st.sampled_from([2048, 4096, 16_384]),
    strategy=st.sampled_from(["ddp", "fsdp2", "zero1", "zero2", "zero3", "zero3_offload"]),
)
def test_twice_the_workers_take_half_the_time_and_not_more_memory(
    workers: int, budget: int, strategy: str
) -> None:
    few, many = (
        estimate(SMALL, num_workers=n, strategy=strategy, max_tokens_per_micro_batch=budget)
        for n in (workers, 2 * workers)
    )
    assert many.hours == pytest.approx(few.hours / 2)
    assert many.gpu_hours == pytest.approx(few.gpu_hours)
    assert many.peak_gib <= few.peak_gib
    assert many.flops == few.flops


def test_answers_take_what_is_asked_of_them_at_most() -> None:
    resources = Resources.model_validate(H100 | {"num_workers": 4})
    ingest = IngestRecipe.model_validate({"dialogues": {"prompts": {"train": 640}}})
    recipe = CollectRecipe(num_samples=4, max_new_tokens=64)
    result = estimate_preferences(premises(resources, ingest=ingest), recipe)
    assert result.examples == 4 * 640
    weights = 4 * 8_397_094_912 / GIB
    # Keys and values: 32 prompts of 214 tokens twice, and 4 answers of 64, in 32 layers of 4096.
    cache = 2 * 32 * 4096 * 4 * 32 * (2 * 214 + 4 * 64) / GIB
    assert result.memory_gib["weights"] == pytest.approx(weights)
    assert result.memory_gib["cache"] == pytest.approx(cache)
    assert result.fits is True
    more = CollectRecipe(num_samples=16, max_new_tokens=256)
    large = estimate_preferences(premises(resources, ingest=ingest), more)
    assert large.fits is False
    assert "Lower the number of samples or of new tokens." in large.notes[-1]
    assert large.hours > result.hours


def test_evaluation_is_of_three_checkpoints_on_all_suites() -> None:
    resources = Resources.model_validate(H100 | {"num_workers": 32})
    ingest = IngestRecipe.model_validate({"suites": {"items": 100}})
    recipe = EvaluateRecipe(max_new_tokens=10)
    result = estimate_evaluation(premises(resources, ingest=ingest), recipe)
    assert result.workers == 3
    assert result.examples == 3 * num_suites(shipped_tasks()) * 100
