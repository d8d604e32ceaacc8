"""Our adapters open in peft, peft's are merged here, and what does not fit is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.checkpoints.adapters import base_of, is_adapter, load_adapted, save_adapter
from model.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from model.checkpoints.weights import CheckpointError
from model.tuning import TuningRecipe, apply_tuning, merge_adapters
from tests.support.oracle import CONVERSATIONS, reference_logits, tokens_of

Model: TypeAlias = Qwen2AudioForConditionalGeneration
BOTH = TuningRecipe(audio_encoder="lora", language_model="lora", lora_rank=4)


def scramble(model: torch.nn.Module) -> None:
    """Move everything that is trained, as a training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def base(model: Model, processor: Qwen2AudioProcessor, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "base", model, processor)
    return tmp_path / "base"


def write_theirs(base: Path, folder: Path, variant: str = "") -> Path:
    """An adapter that peft made for the base, as its trainers configure it."""
    model = Qwen2AudioForConditionalGeneration.from_pretrained(base)
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules=["q_proj", "v_proj", "fc1"], task_type="CAUSAL_LM",
        modules_to_save=["multi_modal_projector"], use_rslora=variant == "rslora",
        use_dora=variant == "dora",
    )  # fmt: skip
    adapted = get_peft_model(model, config)
    scramble(adapted)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture
def theirs(base: Path, tmp_path: Path) -> Path:
    return write_theirs(base, tmp_path / "theirs")


def logits(model: Any, processor: Qwen2AudioProcessor) -> Tensor:
    with torch.no_grad():
        return reference_logits(model, tokens_of(CONVERSATIONS[3], processor))


@pytest.mark.parametrize("projector", ["full", "frozen"])
def test_peft_opens_our_adapter_with_the_output_of_our_merged_export(
    base: Path, tmp_path: Path, projector: str
) -> None:
    model, processor = load_checkpoint(base)
    before = logits(model, processor)
    recipe = BOTH.model_copy(update={"projector": projector})
    apply_tuning(model, recipe, seed=1)
    scramble(model)
    save_adapter(tmp_path / "adapter", model)
    merge_adapters(model)
    save_checkpoint(tmp_path / "merged", model, processor)
    merged = logits(
        Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path / "merged"), processor
    )
    assert not torch.allclose(merged, before, atol=0.1)

    start = Qwen2AudioForConditionalGeneration.from_pretrained(base)
    in_peft = PeftModel.from_pretrained(start, str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(logits(in_peft, processor), merged, atol=1e-4, rtol=1e-4)
    here, _ = load_adapted(tmp_path / "adapter", base)
    torch.testing.assert_close(logits(here, processor), merged, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", ["plain", "rslora", "dora"])
def test_an_adapter_of_peft_is_merged_into_a_checkpoint_that_can_be_trained_and_saved(
    base: Path, tmp_path: Path, variant: str
) -> None:
    theirs = write_theirs(base, tmp_path / "theirs", variant)
    start = Qwen2AudioForConditionalGeneration.from_pretrained(base)
    model, processor = load_adapted(theirs, base)
    expected = logits(PeftModel.from_pretrained(start, str(theirs)).eval(), processor)
    torch.testing.assert_close(logits(model, processor), expected, atol=1e-4, rtol=1e-4)
    plain, _ = load_checkpoint(base)
    for (name, ours), (other, original) in zip(
        model.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert (name, ours.requires_grad) == (other, original.requires_grad)
    save_checkpoint(tmp_path / "again", model, processor)
    again, _ = load_checkpoint(tmp_path / "again")
    torch.testing.assert_close(logits(again, processor), expected, atol=1e-4, rtol=1e-4)


def test_an_adapter_with_the_names_of_older_transformers_is_the_same(
    base: Path, theirs: Path, tmp_path: Path
) -> None:
    """`base_model.model.language_model.model.layers...`: as released checkpoints name tensors."""
    expected, processor = load_adapted(theirs, base)
    older = {}
    for name, tensor in load_file(theirs / "adapter_model.safetensors").items():
        inner = name.removeprefix("base_model.model.model.")
        if inner.startswith("language_model."):
            inner = inner.replace("language_model.", "language_model.model.", 1)
        older[f"base_model.model.{inner}"] = tensor
    save_file(older, theirs / "adapter_model.safetensors")
    change_config(theirs, target_modules=r"^(language_model|audio_tower)(?=\.).*\.(q_proj)$")
    model, _ = load_adapted(theirs, base)
    assert torch.equal(logits(model, processor), logits(expected, processor))


def test_an_adapter_says_what_it_is_and_perhaps_its_base(base: Path, theirs: Path) -> None:
    assert is_adapter(theirs)
    assert not is_adapter(base)
    assert base_of(theirs) == str(base)
    change_config(theirs, base_model_name_or_path=None)
    assert base_of(theirs) is None


def change_config(folder: Path, **values: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def drop_one(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(next(name for name in tensors if "lora_B" in name))
    save_file(tensors, folder / "adapter_model.safetensors")


def use_a_pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_one, r"the tensors in .*theirs don't fit .*1 missing: base_model.*lora_B.weight"),
        (use_a_pickle, r"theirs has no adapter_model.safetensors.*a pickle could run anything"),
        (
            lambda f: change_config(f, r=8),
            r"of another shape or type: base_model.*\(4, 32\), expec",
        ),
        (lambda f: change_config(f, peft_type="IA3"), "has peft_type 'IA3' .*plain LoRA"),
        (lambda f: change_config(f, init_lora_weights="pissa"), "init_lora_weights 'pissa'; adap"),
        (lambda f: change_config(f, unheard_of=1), "can't be put into the checkpoint in .*unheard"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "can't be read as the configurat"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x"), "can't be read .*Copy the"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    base: Path, theirs: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(theirs)
    with pytest.raises(CheckpointError, match=message):
        load_adapted(theirs, base)
