"""Row 11: the memory that a training step takes, against what `q2a plan` says of it.

Whole steps of a model of 95 million parameters over 2,000 packed tokens on the CPU. Nothing races
here: both columns of time show one step.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch
from torch import nn

from benchmarks.harness import NUM_THREADS, Condition, Race, Row, peak_bytes
from benchmarks.texts import transcripts
from benchmarks.workload import Model, by_number, clips, configuration
from model.activation_checkpointing import checkpoint_activations
from model.attention import use_packed_attention
from model.batch import Batch, collate
from model.costs.flops import sizes_of
from model.costs.memory import TrainingPlan, training_memory
from model.costs.shapes import count_parameters
from model.features import log_mel_spectrogram
from model.forward import cross_entropy
from model.tuning import TuningRecipe, apply_tuning
from tasks.training.optimizer import build_optimizer
from tasks.training.recipe import OptimizerRecipe

AUDIO = {
    "num_mel_bins": 80,
    "encoder_layers": 4,
    "d_model": 512,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
}
TEXT = {
    "num_hidden_layers": 8,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "intermediate_size": 2048,
    "vocab_size": 16_384,
}
_EXAMPLES = 9
"""About 2,000 tokens."""
_LORA = TuningRecipe(audio_encoder="lora", language_model="lora")
_STEPS = 2
"""The first one makes the moments, the second one finds them."""
_WITHIN = 0.15
_RECIPE = OptimizerRecipe(steps=1, examples_per_step=1, learning_rate=1e-5, warmup_steps=0)


@dataclass(frozen=True)
class Case:
    """What is trained, and how."""

    name: str
    tuning: TuningRecipe
    checkpointing: bool


CASES = (
    Case("memory, all trained", TuningRecipe(), False),
    Case("memory, all trained, checkpointing", TuningRecipe(), True),
    Case("memory, LoRA", _LORA, False),
    Case("memory, LoRA, checkpointing", _LORA, True),
)


def memory() -> Iterator[Row]:
    """Predicted and measured peak, in float32."""
    for case in CASES:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            yield process.submit(_row, case).result()


def _row(case: Case) -> Row:
    torch.set_num_threads(NUM_THREADS)
    batch = _batch()
    seconds: list[float] = []
    measured = peak_bytes(lambda: _train(case, batch, seconds))
    plan = TrainingPlan(
        tuning=case.tuning,
        precision="float32",
        optimizer="adamw",
        strategy="ddp",
        workers=1,
        checkpointing=case.checkpointing,
        micro_batches=1,
        device="cpu",
    )
    config = configuration(AUDIO, TEXT)
    count = count_parameters(config, case.tuning)
    predicted = training_memory(config, count, sizes_of(batch), plan)
    off = abs(predicted.peak / measured - 1)
    return Row(
        name=case.name,
        work=f"{batch.plan.num_positions} packed tokens; predicted {predicted.peak / 1e9:.2f} GB, "
        f"measured {measured / 1e9:.2f} GB",
        race=Race(min(seconds), min(seconds), 1.0),
        goal=None,
        stretch=None,
        conditions=(Condition("prediction off by", off, "<=", _WITHIN),),
    )


def _batch() -> Batch:
    """Transcribed clips, as many as come nearest to the wanted tokens."""
    sequences = transcripts(_EXAMPLES, TEXT["vocab_size"])
    features = log_mel_spectrogram(clips(_EXAMPLES), AUDIO["num_mel_bins"])
    return collate(sequences, by_number(features))


def _train(case: Case, batch: Batch, seconds: list[float]) -> None:
    """Make the model and take steps with it, as `tasks.training.loop` does."""
    model = Model._from_config(configuration(AUDIO, TEXT)).float().train()
    use_packed_attention(model)
    apply_tuning(model, case.tuning, seed=0)
    if case.checkpointing:
        checkpoint_activations(model)
    optimizer = build_optimizer(model, _RECIPE)
    for _ in range(_STEPS):
        started = time.process_time()
        (cross_entropy(model, batch, 0.0) / batch.num_labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), _RECIPE.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - started)
