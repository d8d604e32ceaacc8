"""Checkpoints as people find them: what can't be read is said with the folder and a remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen2AudioProcessor

from data_contracts.errors import DataError
from model.attention import NAME
from model.checkpoints.adopted_tokenizer import read_tokenizer
from model.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from model.checkpoints.construct import build_model
from model.checkpoints.towers import read_language_model, read_whisper_encoder
from model.checkpoints.weights import CheckpointError
from tests.support.oracle import RECIPE
from tests.support.small_checkpoints import write_qwen2, write_whisper

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
QUANTISED = {"quant_method": "bitsandbytes", "load_in_8bit": True}
READERS: dict[str, Callable[[Path], Any]] = {
    "released": load_checkpoint,
    "language model": read_language_model,
    "whisper": read_whisper_encoder,
}


@pytest.fixture(params=READERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str, tmp_path: Path, processor: Qwen2AudioProcessor) -> Path:
    if kind == "released":
        save_checkpoint(tmp_path, build_model(RECIPE, processor.tokenizer), processor)
    elif kind == "whisper":
        write_whisper(tmp_path)
    else:
        write_qwen2(tmp_path, tied=False)
    return tmp_path


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def text_part(config: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = config.get("text_config", config)
    return part


def index(folder: Path, text: str) -> None:
    (folder / "model.safetensors").rename(folder / "shard.safetensors")
    (folder / "model.safetensors.index.json").write_text(text)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an adapter": (
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        r"adapter_config.json beside the weights.*Merge the adapter",
    ),
    "quantised parts": (
        lambda folder: change_config(
            folder, lambda c: c.update(text_config={"quantization_config": QUANTISED})
        ),
        "are quantised; they are read in floating point alone",
    ),
    "a deep configuration": (
        lambda folder: (folder / "config.json").write_text(DEEP),
        r"config.json can't be read as a configuration of .*RecursionError",
    ),
    "a size that is text": (
        lambda folder: change_config(
            folder, lambda c: text_part(c).update(hidden_size="big", d_model="big")
        ),
        r"config.json describes no network that can be built .*Give the config.json that belongs",
    ),
    "no heads": (
        lambda folder: change_config(
            folder,
            lambda c: text_part(c).update(num_attention_heads=0, encoder_attention_heads=0),
        ),
        r"describes no network that can be built \(ZeroDivisionError",
    ),
    "a deep index": (lambda folder: index(folder, DEEP), "the weights in .* can't be read"),
    "an index of numbers": (
        lambda folder: index(folder, '{"weight_map": {"a": 5}}'),
        "the weights in .* can't be read",
    ),
    "an index that leaves its folder": (
        lambda folder: index(folder, '{"weight_map": {"a": "../other.safetensors"}}'),
        r"can't be read \(.* names '../other.safetensors', which is no file of this folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_checkpoint_that_can_not_be_read_is_refused_by_its_folder(
    case: str, kind: str, folder: Path
) -> None:
    spoil, message = REFUSED[case]
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        READERS[kind](folder)
    assert str(folder) in str(caught.value)
    assert isinstance(caught.value, DataError)


@pytest.mark.parametrize("kind", ["released", "language model"], indirect=True)
@pytest.mark.parametrize(
    "change", [{"hidden_act": "nope"}, {"rope_parameters": {"rope_type": "?"}}]
)
def test_functions_that_transformers_does_not_know_are_refused(
    change: dict[str, Any], kind: str, folder: Path
) -> None:
    change_config(folder, lambda c: text_part(c).update(change))
    with pytest.raises(CheckpointError, match="describes no network that can be built"):
        READERS[kind](folder)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_attention_that_is_not_installed_is_replaced_by_ours(
    name: str, kind: str, folder: Path
) -> None:
    change_config(folder, lambda c: c.update({name: "flash_attention_2"}))
    loaded = READERS[kind](folder)
    if kind == "released":
        assert loaded[0].config.text_config._attn_implementation == NAME


@pytest.mark.parametrize("kind", ["released"], indirect=True)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", [DEEP, '{"tokenizer_class": 5}'])
def test_a_tokenizer_of_another_form_is_refused(name: str, text: str, folder: Path) -> None:
    (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match="has no processor that can be read"):
        load_checkpoint(folder)


@pytest.mark.parametrize("kind", ["language model"], indirect=True)
def test_a_deep_tokenizer_of_a_language_model_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(DEEP)
    with pytest.raises(CheckpointError, match=r"the tokenizer in .* can't be read"):
        read_tokenizer(folder)
