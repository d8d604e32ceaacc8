"""Parts are frozen, adapted or trained, and an export is a plain checkpoint again."""

from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from pydantic import ValidationError
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.batch import Batch, collate
from model.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from model.forward import cross_entropy
from model.parts import part_of
from model.tuning import TuningRecipe, apply_tuning, merge_adapters
from tests.support.oracle import CONVERSATIONS, FEATURES, reference_logits, tokens_of

Model: TypeAlias = Qwen2AudioForConditionalGeneration
BOTH = TuningRecipe(audio_encoder="lora", language_model="lora", lora_rank=4)


@pytest.fixture
def batch(processor: Qwen2AudioProcessor) -> Batch:
    return collate([tokens_of(c, processor) for c in CONVERSATIONS], FEATURES)


def train_a_little(model: Model, batch: Batch) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02)
    for _ in range(3):
        (cross_entropy(model, batch, 0.0) / batch.num_labels).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        (TuningRecipe(), {"audio_encoder", "projector", "language_model"}),
        (TuningRecipe(audio_encoder="frozen"), {"projector", "language_model"}),
        (TuningRecipe(audio_encoder="frozen", language_model="frozen"), {"projector"}),
        (TuningRecipe(projector="frozen", language_model="lora", audio_encoder="frozen"),
         {"language_model"}),
        (BOTH, {"audio_encoder", "projector", "language_model"}),
    ],
)  # fmt: skip
def test_only_the_named_parts_change(
    model: Model, batch: Batch, recipe: TuningRecipe, parts: set[str]
) -> None:
    apply_tuning(model, recipe, seed=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_a_little(model, batch)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {part_of(name) for name in changed} == parts
    assert not any("embed_positions" in name for name in changed)
    if recipe.language_model == "lora":
        assert all(".lora_" in name for name in changed if part_of(name) == "language_model")


def test_fresh_adapters_change_no_output_and_no_random_state(model: Model, batch: Batch) -> None:
    before = cross_entropy(model, batch, 0.0)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    apply_tuning(model, BOTH, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(cross_entropy(model, batch, 0.0), before, atol=0, rtol=0)


def test_merged_adapters_save_as_a_plain_checkpoint_with_the_same_output(
    model: Model, batch: Batch, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    plain = {name: p.shape for name, p in model.named_parameters()}
    apply_tuning(model, BOTH, seed=1)
    train_a_little(model, batch)
    sequence = tokens_of(CONVERSATIONS[3], processor)
    with torch.no_grad():
        adapted_loss = cross_entropy(model, batch, 0.0)
        adapted = reference_logits(model, sequence)
    merge_adapters(model)
    assert {name: p.shape for name, p in model.named_parameters()} == plain
    save_checkpoint(tmp_path, model, processor)
    reopened, _ = load_checkpoint(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy(reopened, batch, 0.0), adapted_loss)
        torch.testing.assert_close(
            reference_logits(reopened, sequence), adapted, atol=1e-4, rtol=1e-4
        )


def test_checkpointed_activations_give_adapters_the_same_gradients(
    model: Model, batch: Batch
) -> None:
    apply_tuning(model, BOTH, seed=1)
    model.train()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        cross_entropy(model, batch, 0.0).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        model.activation_checkpointing_enable()
    assert len(gradients[0]) == len(gradients[1])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_freezing_everything_is_refused(model: Model) -> None:
    frozen = TuningRecipe(audio_encoder="frozen", projector="frozen", language_model="frozen")
    with pytest.raises(ValueError, match=r"freezes .* at least one part must learn"):
        apply_tuning(model, frozen, seed=1)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValidationError, match="'full', 'lora' or 'frozen'"):
        TuningRecipe.model_validate({"language_model": "qlora"})
