"""Reads Whisper's weights from a CTranslate2 model file."""

import struct
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""CTranslate2's type numbers that such a file may contain."""
_NORM = {"gamma": "weight", "beta": "bias"}
_LAYER = {
    "encoder": {
        "self_attention/layer_norm": ("self_attn_layer_norm",),
        "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attention/linear_1": ("self_attn.out_proj",),
        "ffn/layer_norm": ("final_layer_norm",),
        "ffn/linear_0": ("fc1",),
        "ffn/linear_1": ("fc2",),
    }
}
_LAYER["decoder"] = _LAYER["encoder"] | {
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
}
"""Part of a layer -> transformers' modules; fused projections are stacked by rows."""
_OUTSIDE_LAYERS = {
    "encoder/conv1": "encoder.conv1",
    "encoder/conv2": "encoder.conv2",
    "encoder/layer_norm": "encoder.layer_norm",
    "encoder/position_encodings": "encoder.embed_positions",
    "decoder/embeddings": "decoder.embed_tokens",
    "decoder/layer_norm": "decoder.layer_norm",
    "decoder/position_encodings": "decoder.embed_positions",
}


class CTranslate2Error(ValueError):
    """The file is not a complete CTranslate2 model, or not one of Whisper."""


def read_variables(data: bytes) -> dict[str, np.ndarray]:
    """Read the variables of a model file by name.

    Layout, little endian: u32 version, text (u16 length, a closing zero included) specification,
    u32 revision, u32 count; for each variable text name, u8 rank, u32 dimensions, u8 type, u32
    bytes, values; then u32 count of aliases, each two texts. Source: CTranslate2, `model_spec.py`.

    Raises:
        CTranslate2Error: the file ends too early or too late, or holds an unknown type.
    """
    position = 0

    def take(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from("<" + form, data, position)
        position += struct.calcsize("<" + form)
        return int(value)

    def text() -> str:
        nonlocal position
        length = take("H")
        position += length
        return data[position - length : position - 1].decode()

    variables: dict[str, np.ndarray] = {}
    try:
        _header = take("I"), text(), take("I")
        for _ in range(take("I")):
            name = text()
            shape = [take("I") for _ in range(take("B"))]
            dtype = np.dtype(_DTYPES[take("B")])
            size = take("I")
            values = np.frombuffer(data, dtype, size // dtype.itemsize, offset=position)
            variables[name] = values.reshape(shape)
            position += size
        _aliases = [(text(), text()) for _ in range(take("I"))]
    except (struct.error, KeyError, ValueError) as error:
        raise CTranslate2Error(
            f"the file is unreadable at byte {position} of {len(data)}: {error!r}. Download it "
            "again, and join parts in order."
        ) from error
    if position != len(data):
        raise CTranslate2Error(
            f"the file has {len(data) - position} bytes after its end. Join its parts in order."
        )
    return variables


def whisper_state(variables: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Convert variables to the state dict of `WhisperForConditionalGeneration`, float32.

    Raises:
        CTranslate2Error: Whisper has no such parameter, or keys have a bias.
    """
    state: dict[str, Tensor] = {}
    for name, values in variables.items():
        if values.ndim == 0 or name == "decoder/alignment_heads":
            continue  # settings of CTranslate2's decoder
        for target, tensor in _translate(name, torch.from_numpy(values.astype(np.float32))):
            if not target.endswith("k_proj.bias"):
                state[f"model.{target}"] = tensor.clone()
            elif tensor.any():
                raise CTranslate2Error(f"{name} gives the keys a bias, which Whisper has not")
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state


def _translate(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Translate a variable to transformers' name and tensor."""
    module, _, kind = name.rpartition("/")
    kind = "weight" if kind == "encodings" else _NORM.get(kind, kind)
    side, layer, part = [*module.split("/", 2), "", ""][:3]
    if module in _OUTSIDE_LAYERS:
        yield f"{_OUTSIDE_LAYERS[module]}.{kind}", tensor
    elif part in _LAYER.get(side, {}):
        modules = _LAYER[side][part]
        prefix = f"{side}.layers.{layer.removeprefix('layer_')}"
        for target, rows in zip(modules, tensor.chunk(len(modules)), strict=True):
            yield f"{prefix}.{target}.{kind}", rows
    else:
        raise CTranslate2Error(f"{name} {tuple(tensor.shape)} is no parameter of Whisper")
