"""Peak bytes of one worker during training, by strategy, precision and tuning.

Weights, gradients and Adam's moments are float32; in bfloat16, products read copies of the weights.
Strategies divide among N workers what Rajbhandari et al. 2020 ("ZeRO", figure 1) divide, whose
2 + 2 + 12 bytes per parameter are here 4 + 4 + 8: the float32 weights are the master. Buffers of
strategies are those of `tasks/training/strategies`, with the defaults of torch and DeepSpeed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from transformers import Qwen2AudioConfig

from data_contracts.training_choices import OptimizerName, Precision, StrategyName
from model.costs.activations import Activations, Dtype, activations
from model.costs.flops import StepSizes
from model.costs.shapes import ParameterCount
from model.tuning import TuningRecipe

_FLOAT, _HALF = 4, 2
_MOMENTS: dict[OptimizerName, float] = {"adamw": 2 * _FLOAT, "adamw_8bit": 2 * (1 + _FLOAT / 256)}
"""Bytes a parameter; in 8 bits with a float32 scale a block of 256 (Dettmers et al. 2022)."""
_LIVE_LAYERS = 2
"""FSDP2: the layer that computes, and the one that is fetched meanwhile."""
_LIVE_PARAMETERS = 1_000_000_000
"""ZeRO-3: DeepSpeed's `stage3_max_live_parameters`."""
_REDUCE_BUCKET = 500_000_000
"""Gradients that ZeRO exchanges at once: DeepSpeed's `reduce_bucket_size`."""


@dataclass(frozen=True)
class StateBytes:
    """Bytes of the model and its optimizer on one worker."""

    weights: int
    gradients: int
    """Gradients when all of them are complete, before the optimizer's step."""
    optimizer: int
    exchange: int
    """Layers that are gathered from other workers, and buffers for exchanging gradients."""
    host: int = 0
    """Part that is in the memory of the host instead of the accelerator's."""

    @property
    def accelerator(self) -> int:
        """Bytes in the accelerator's memory."""
        return self.weights + self.gradients + self.optimizer + self.exchange


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that a training step's memory depends on."""

    tuning: TuningRecipe
    precision: Precision
    optimizer: OptimizerName
    strategy: StrategyName
    workers: int
    checkpointing: bool
    micro_batches: int
    """Sizes of one worker's batch of a step."""
    device: Literal["cpu", "cuda"]


@dataclass(frozen=True)
class TrainingMemory:
    """Memory of one worker of a training stage, in bytes."""

    state: StateBytes
    copies: int
    """bfloat16 copies of the weights for products, kept for the backward pass."""
    activations: Activations
    peak: int
    """Largest sum at one time."""
    moment: str
    """Phase of the step in which the peak occurs."""


def state_bytes(
    count: ParameterCount, strategy: StrategyName, workers: int, optimizer: OptimizerName
) -> StateBytes:
    """Count the bytes of parameters, gradients and moments on each of `workers`."""
    weights, gradients = _FLOAT * count.total, _FLOAT * count.trained
    moments = round(_MOMENTS[optimizer] * count.trained)
    if workers == 1:
        return StateBytes(weights, gradients, moments, exchange=0)
    bucket = _FLOAT * min(_REDUCE_BUCKET, count.trained)
    # DeepSpeed steps on a copy of a worker's share of the weights, in every stage.
    stepped = (gradients + moments) // workers
    if strategy == "ddp":
        # The buckets of the exchange hold the gradients once more.
        return StateBytes(weights, gradients, moments, exchange=gradients)
    if strategy == "zero1":
        return StateBytes(weights, gradients, stepped, bucket)
    if strategy == "zero2":
        return StateBytes(weights, gradients // workers, stepped, bucket)
    if strategy == "fsdp2":
        # What belongs to no layer stays for the whole pass, and so does its gradient.
        whole = 2 * count.outside_layers + 2 * _LIVE_LAYERS * count.largest_layer
        return StateBytes(
            weights // workers, gradients // workers, moments // workers, _FLOAT * whole
        )
    live = _FLOAT * min(_LIVE_PARAMETERS, count.total)
    shared = (weights // workers, gradients // workers, stepped)
    if strategy == "zero3":
        return StateBytes(*shared, exchange=live + bucket)
    return StateBytes(0, 0, 0, exchange=live + bucket, host=sum(shared))


def training_memory(
    config: Qwen2AudioConfig, count: ParameterCount, sizes: StepSizes, plan: TrainingPlan
) -> TrainingMemory:
    """Peak memory of one worker during any step but the first.

    While the backward pass goes through the layers, gradients replace activations at a constant
    rate, so the peak is at one of its ends, or in the optimizer's step.

    Args:
        count: parameters of the model under the plan's tuning, from `shapes.count_parameters`.
        sizes: sizes of one micro-batch.
    """
    state = state_bytes(count, plan.strategy, plan.workers, plan.optimizer)
    dtype: Dtype = "autocast" if plan.precision == "bfloat16" else "float32"
    kept = activations(config, plan.tuning, sizes, dtype, plan.checkpointing)
    # autocast holds copies of what learns to the end of the forward pass; what is frozen is copied
    # for each product, and kept by those that pass a gradient on.
    copied = count.trained_products + (0 if plan.checkpointing else count.passing_products)
    copies = _HALF * copied if dtype == "autocast" else 0
    # From the second micro-batch on, all gradients are there before anything goes backward.
    earlier = state.gradients if plan.micro_batches > 1 else 0
    head = _head_gradient(config, plan.tuning, state, count)
    moments = {
        "loss": kept.text + kept.audio + kept.logits + copies + earlier,
        "backward begins": kept.text
        + kept.audio
        + kept.text_layer
        + (0 if plan.checkpointing else copies)
        + max(head, earlier),
        "backward ends": kept.audio + kept.audio_layer + state.gradients,
        "optimizer": state.gradients + _step_scratch(state, count, plan),
    }
    moment = max(moments, key=lambda name: moments[name])
    always = state.weights + state.optimizer + state.exchange
    return TrainingMemory(state, copies, kept, always + moments[moment], moment)


def not_in_the_loop(count: ParameterCount) -> Mapping[str, int]:
    """Bytes of weights, gradients and optimizer on one worker with formats that the training loop
    does not offer, to show what they would save.

    Sources: Rajbhandari et al. 2020 (2 + 2 + 12 bytes); Dettmers et al. 2022 (8-bit moments); Lv et
    al. 2023, "LOMO" (updates inside the backward pass); `benchmarks/lean_adam.py` has both.
    """
    frozen, trained = _HALF * count.frozen, count.trained
    return {
        "bfloat16 weights beside a float32 master": frozen + 16 * trained,
        "bfloat16 weights, their other 16 bits, 8-bit moments": frozen + 8 * trained,
        "the same, updated inside the backward pass": frozen
        + 6 * trained
        + _HALF * count.largest_trained,
    }


def _head_gradient(
    config: Qwen2AudioConfig, tuning: TuningRecipe, state: StateBytes, count: ParameterCount
) -> int:
    """Bytes of the output matrix's gradient, which is complete first."""
    if tuning.language_model != "full":
        return 0
    text = config.text_config
    return int(state.gradients * text.vocab_size * text.hidden_size // count.trained)


def _step_scratch(state: StateBytes, count: ParameterCount, plan: TrainingPlan) -> int:
    """Temporary bytes of AdamW's step: on a CPU two copies of one tensor; on a GPU torch updates
    all tensors together, which takes the size of all parameters again (`torch.optim.AdamW`,
    `foreach`).
    The 8-bit one is a single kernel.
    """
    if plan.optimizer == "adamw_8bit":
        return 0
    if plan.device == "cpu":
        return min(2 * _FLOAT * count.largest_trained, state.optimizer)
    return state.optimizer // 2
