"""How many bytes one worker holds at most while it trains, by strategy, precision and tuning.

Weights, gradients and Adam's moments are float32; in bfloat16, products see copies of the weights.
What a strategy divides among N workers is that of Rajbhandari et al. 2020 ("ZeRO", figure 1), whose
2 + 2 + 12 bytes a parameter are here 4 + 4 + 8: the float32 weights are the master. What the
strategies hold besides is that of `tasks/strategies`, with the defaults of torch and DeepSpeed.
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
    """What a worker holds of the model and of its optimizer."""

    weights: int
    gradients: int
    """Complete, before the optimizer's step."""
    optimizer: int
    exchange: int
    """Gathered layers of other workers, and buffers of gradients on their way."""
    host: int = 0
    """In the memory of the machine instead of the accelerator's."""

    @property
    def accelerator(self) -> int:
        """All but the host's."""
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
    """Of one worker and step."""
    device: Literal["cpu", "cuda"]


@dataclass(frozen=True)
class TrainingMemory:
    """One worker of a training stage, in bytes."""

    state: StateBytes
    copies: int
    """bfloat16 copies of weights that products read, kept for the backward pass."""
    activations: Activations
    peak: int
    """The most at one time."""
    moment: str
    """When that is."""


def state_bytes(
    count: ParameterCount, strategy: StrategyName, workers: int, optimizer: OptimizerName
) -> StateBytes:
    """Bytes of parameters, gradients and moments on each of `workers`."""
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
    """The most that one worker holds during a step, the first one excepted.

    While the backward pass goes down the layers, activations make room for gradients at a constant
    rate, so the most is at one of its ends, or in the optimizer's step.

    Args:
        count: of the model under the plan's tuning, from `shapes.count_parameters`.
        sizes: of one micro-batch.
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
    """Bytes of weights, gradients and optimizer on one worker, under ways to store them that the
    training loop does not offer. Arithmetic: it says what they would be worth.

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
    """Bytes of the output matrix's gradient, the first that is complete."""
    if tuning.language_model != "full":
        return 0
    text = config.text_config
    return int(state.gradients * text.vocab_size * text.hidden_size // count.trained)


def _step_scratch(state: StateBytes, count: ParameterCount, plan: TrainingPlan) -> int:
    """What AdamW computes with: on a CPU two copies of one tensor; on a GPU torch takes all tensors
    together, which takes the size of all parameters once more (`torch.optim.AdamW`, `foreach`).
    The 8-bit one is a single kernel.
    """
    if plan.optimizer == "adamw_8bit":
        return 0
    if plan.device == "cpu":
        return min(2 * _FLOAT * count.largest_trained, state.optimizer)
    return state.optimizer // 2
