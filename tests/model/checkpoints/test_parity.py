"""An export that answers as its model passes; one changed number anywhere does not."""

import math
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.checkpoints import parity
from model.checkpoints.assemble import assemble
from model.checkpoints.checkpoint import save_checkpoint
from model.checkpoints.parity import Parity, ParityError, measure_parity
from model.checkpoints.weights import CheckpointError
from model.features import log_mel_spectrogram
from model.tokenizer import build_processor, train_tokenizer
from tests.support.oracle import TEXTS
from tests.support.small_checkpoints import change_tensors, write_llama, write_whisper

Model: TypeAlias = Qwen2AudioForConditionalGeneration


@pytest.fixture
def exported(model: Model, processor: Qwen2AudioProcessor, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path, model, processor)
    return tmp_path


def test_an_export_answers_as_its_model(
    model: Model, processor: Qwen2AudioProcessor, exported: Path
) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        found = measure_parity(model, processor, exported)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found.to_reloaded == 0.0
    assert 0 < found.to_reference < 1e-5 * found.largest_logit
    assert found.relative == found.to_reference / found.largest_logit
    # Four assistant turns, a completion, and the token that ends each.
    assert found.num_labels > 5 * 2
    assert found.largest_logit > 1


def test_an_assembled_llama_answers_alike(tmp_path: Path) -> None:
    write_whisper(tmp_path / "whisper")
    write_llama(tmp_path / "text", tied=True)
    model, processor = assemble(tmp_path / "whisper", tmp_path / "text", seed=0)
    save_checkpoint(tmp_path / "out", model, processor)
    assert measure_parity(model, processor, tmp_path / "out").relative < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "audio_tower.conv1.weight",
        "audio_tower.layers.1.self_attn.k_proj.weight",
        "multi_modal_projector.linear.bias",
        "language_model.model.layers.0.mlp.up_proj.weight",
        "language_model.lm_head.weight",
    ],
)
def test_one_altered_tensor_is_found(
    name: str, model: Model, processor: Qwen2AudioProcessor, exported: Path
) -> None:
    def alter(tensors: dict[str, Tensor]) -> None:
        tensors[name] = 1.05 * tensors[name]

    change_tensors(exported, alter)
    with pytest.raises(ParityError, match="write it again"):
        measure_parity(model, processor, exported)


def test_an_alteration_is_as_large_in_transformers_as_packed(
    model: Model,
    processor: Qwen2AudioProcessor,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parity, "_BOUND", 1.0)
    with torch.no_grad():
        model.model.audio_tower.conv2.bias += 0.1
    found = measure_parity(model, processor, exported)
    assert found.to_reloaded > 1e-3
    assert found.to_reference == pytest.approx(found.to_reloaded, abs=1e-5)


def test_a_fault_of_our_own_features_is_found(
    model: Model,
    processor: Qwen2AudioProcessor,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = log_mel_spectrogram
    monkeypatch.setattr(
        parity,
        "log_mel_spectrogram",
        lambda waveforms, bins: [features.roll(1) for features in right(waveforms, bins)],
    )
    with pytest.raises(ParityError, match=r"and 0\.0e\+00 packed"):
        measure_parity(model, processor, exported)


def test_an_export_without_a_tensor_cannot_be_opened(
    model: Model, processor: Qwen2AudioProcessor, exported: Path
) -> None:
    change_tensors(exported, lambda tensors: tensors.__delitem__("audio_tower.conv1.bias"))
    with pytest.raises(CheckpointError, match=r"conv1\.bias"):
        measure_parity(model, processor, exported)


def test_a_processor_that_reads_otherwise_is_found(
    model: Model, processor: Qwen2AudioProcessor, exported: Path
) -> None:
    build_processor(train_tokenizer(TEXTS, 300, ["en", "de"]), 80).save_pretrained(exported)
    with pytest.raises(ParityError, match="reads the conversation 'text alone' as"):
        measure_parity(model, processor, exported)


def test_a_model_of_nan_does_not_pass(
    model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    with torch.no_grad():
        model.lm_head.weight[7] = float("nan")
    save_checkpoint(tmp_path, model, processor)
    with pytest.raises(ParityError, match="differ from the model's by nan"):
        measure_parity(model, processor, tmp_path)


def test_a_difference_that_is_not_a_number_hides_behind_no_other() -> None:
    nan = float("nan")
    for pair in ((nan, 0.0), (0.0, nan)):
        assert math.isnan(Parity(1, 1.0, *pair).relative)


def test_a_model_in_training_mode_or_half_precision_is_refused(
    model: Model, processor: Qwen2AudioProcessor, exported: Path
) -> None:
    with pytest.raises(ValueError, match="training is True"):
        measure_parity(model.train(), processor, exported)
    with pytest.raises(ValueError, match=r"holds torch\.bfloat16"):
        measure_parity(model.eval().to(torch.bfloat16), processor, exported)
