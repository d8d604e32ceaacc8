"""Towers are read whole, in float32, whatever their folder looks like; anything else is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, Qwen2AudioEncoder, Qwen2Config

from model.checkpoints.towers import read_language_model, read_whisper_encoder
from model.checkpoints.weights import CheckpointError
from tests.support.small_checkpoints import (
    WRITERS,
    change_tensors,
    write_llama,
    write_qwen2,
    write_whisper,
)

Change = Callable[[dict[str, Tensor]], None]


@pytest.mark.parametrize("form", ["whole", "without its head", "in shards"])
def test_every_tensor_of_whispers_encoder_is_read(form: str, tmp_path: Path) -> None:
    whisper = write_whisper(tmp_path / "plain", num_mel_bins=128)
    directory = tmp_path / "plain"
    if form == "without its head":
        directory = tmp_path / "base"
        whisper.model.save_pretrained(directory)
    elif form == "in shards":
        directory = tmp_path / "shards"
        whisper.save_pretrained(directory, max_shard_size="50KB")
        assert len(list(directory.glob("*.safetensors"))) > 2
    config, tensors = read_whisper_encoder(directory)
    expected = whisper.model.encoder.state_dict()
    assert tensors.keys() == expected.keys() == Qwen2AudioEncoder(config).state_dict().keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert config.num_mel_bins == 128


def test_the_decoder_need_not_be_there(tmp_path: Path) -> None:
    write_whisper(tmp_path)
    before = read_whisper_encoder(tmp_path)[1]

    def drop_decoder(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if "decoder" in name]:
            del tensors[name]

    change_tensors(tmp_path, drop_decoder)
    after = read_whisper_encoder(tmp_path)[1]
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_whispers_settings_are_carried_but_for_layer_drop(tmp_path: Path) -> None:
    whisper = write_whisper(tmp_path)
    assert whisper.config.encoder_layerdrop == 0.1
    config, _ = read_whisper_encoder(tmp_path)
    assert config.encoder_layerdrop == 0.0
    assert config.dropout == 0.1
    assert config.max_source_positions == 1500


@pytest.mark.parametrize("kind", WRITERS)
def test_every_tensor_of_a_language_model_is_read(kind: str, tmp_path: Path) -> None:
    theirs = WRITERS[kind](tmp_path)
    config, tensors = read_language_model(tmp_path)
    assert isinstance(config, Qwen2Config if "qwen2" in kind else LlamaConfig)
    expected = {f"language_model.{name}": part for name, part in theirs.state_dict().items()}
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert not config.tie_word_embeddings


def test_a_head_on_disk_counts_even_where_the_configuration_ties(tmp_path: Path) -> None:
    write_qwen2(tmp_path, tied=True)

    def add_head(tensors: dict[str, Tensor]) -> None:
        tensors["lm_head.weight"] = 2 * tensors["model.embed_tokens.weight"]

    change_tensors(tmp_path, add_head)
    _, tensors = read_language_model(tmp_path)
    embeddings = tensors["language_model.model.embed_tokens.weight"]
    assert torch.equal(tensors["language_model.lm_head.weight"], 2 * embeddings)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_disk_is_opened_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    whisper = write_whisper(tmp_path / "whisper").to(dtype)
    whisper.save_pretrained(tmp_path / "whisper")
    llama = write_llama(tmp_path / "llama", tied=True).to(dtype)
    llama.save_pretrained(tmp_path / "llama")
    _, audio = read_whisper_encoder(tmp_path / "whisper")
    _, text = read_language_model(tmp_path / "llama")
    assert {tensor.dtype for tensor in (*audio.values(), *text.values())} == {torch.float32}
    expected = whisper.model.encoder.conv1.weight
    assert expected.dtype == dtype
    assert torch.equal(audio["conv1.weight"], expected.float())


def test_buffers_that_follow_from_the_configuration_may_be_there(tmp_path: Path) -> None:
    write_llama(tmp_path, tied=False)
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    change_tensors(tmp_path, lambda tensors: tensors.update({name: torch.ones(4)}))
    assert not any("rotary" in name for name in read_language_model(tmp_path)[1])


def dropped(name: str) -> Change:
    return lambda tensors: tensors.__delitem__(name)


def replaced(name: str, tensor: Tensor) -> Change:
    return lambda tensors: tensors.__setitem__(name, tensor)


NORM, ENCODER = "model.norm.weight", "model.encoder."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dropped(NORM), rf"1 missing: {NORM} \(32,\)"),
        (replaced("model.layers.2.mlp.up_proj.weight", torch.ones(48, 32)), "1 left over: .*2.mlp"),
        (replaced(NORM, torch.ones(1, 32)), rf"{NORM} \(F32 \(1, 32\), expected float \(32,\)\)"),
        (replaced(NORM, torch.ones(32, dtype=torch.int8)), rf"{NORM} \(I8 \(32,\), expected"),
        (dict.clear, r"27 missing: lm_head.weight .* and 22 more"),
    ],
)
def test_a_language_model_with_a_gap_is_refused(
    change: Change, message: str, tmp_path: Path
) -> None:
    write_qwen2(tmp_path, tied=False)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=message) as error:
        read_language_model(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "Every tensor must be accounted for" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dropped(ENCODER + "conv2.bias"), r"1 missing: model.encoder.conv2.bias \(32,\)"),
        (replaced(ENCODER + "layers.2.fc1.bias", torch.ones(48)), "1 left over: .*layers.2.fc1"),
        (replaced("classifier.weight", torch.ones(2)), "1 left over: classifier.weight"),
        (replaced(ENCODER + "conv1.weight", torch.ones(32, 3, 80)), r"expected float \(32, 80, 3"),
    ],
)
def test_an_encoder_with_a_gap_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    write_whisper(tmp_path)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=message):
        read_whisper_encoder(tmp_path)


def test_positions_for_another_time_are_refused(tmp_path: Path) -> None:
    write_whisper(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_source_positions": 750}))
    with pytest.raises(CheckpointError, match=r"max_source_positions 750.*1500"):
        read_whisper_encoder(tmp_path)


def no_folder(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))


def no_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def broken_config(directory: Path) -> None:
    (directory / "config.json").write_text("[]")


def another_architecture(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "bert"}')


def pickles_alone(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def a_shard_short(directory: Path) -> None:
    weights = {"weight_map": {NORM: "model.safetensors", "x": "model-00002.safetensors"}}
    (directory / "model.safetensors").rename(directory / "model-00001.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps(weights))


def damaged(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"not tensors")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (no_folder, "there is no folder .*weights; .* nothing is downloaded"),
        (no_config, "config.json can't be read as a configuration of qwen2 or llama or qwen"),
        (broken_config, "config.json can't be read"),
        (another_architecture, "weights holds a 'bert' checkpoint; qwen2 or llama or qwen"),
        (pickles_alone, "neither model.safetensors nor .* a pickle could run anything"),
        (a_shard_short, "the weights in .*weights can't be read .*model-00002.safetensors"),
        (damaged, "the weights in .*weights can't be read"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused(
    harm: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write_qwen2(tmp_path / "weights", tied=False)
    harm(tmp_path / "weights")
    with pytest.raises(CheckpointError, match=message):
        read_language_model(tmp_path / "weights")
