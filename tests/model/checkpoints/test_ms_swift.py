"""An export trains one step in the real ms-swift, in an environment of its own."""

import json
import math
import subprocess
from pathlib import Path
from typing import TypeAlias

import pytest
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.checkpoints.checkpoint import save_checkpoint
from tests.support.oracle import CLIPS
from tests.support.recordings import sound_file
from tests.support.wheel import Installation

pytestmark = pytest.mark.drill
Model: TypeAlias = Qwen2AudioForConditionalGeneration
PACKAGES = ("ms-swift>=4.6,<5", "torch==2.13.0", "librosa", "soundfile")
"""ms-swift chooses its own transformers: it wants an older one than this project."""


@pytest.fixture(scope="module")
def ms_swift(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation.create(tmp_path_factory.mktemp("ms-swift"))
    try:
        installation.pip("install", *PACKAGES)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"ms-swift can't be installed here (pip ended with {error.returncode})")
    return installation


def test_an_export_trains_one_step_in_ms_swift(
    model: Model, processor: Qwen2AudioProcessor, ms_swift: Installation, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "checkpoint", model, processor)
    (tmp_path / "a.wav").write_bytes(sound_file(CLIPS["odd"].numpy()))
    row = {
        "messages": [
            {"role": "user", "content": "<audio>What is the sound?"},
            {"role": "assistant", "content": "A dog barks."},
        ],
        "audios": [str(tmp_path / "a.wav")],
    }
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 2)
    ms_swift.run(
        "swift", "sft",
        "--model", str(tmp_path / "checkpoint"), "--model_type", "qwen2_audio",
        "--dataset", str(tmp_path / "rows.jsonl"), "--output_dir", str(tmp_path / "output"),
        "--add_version", "false", "--tuner_type", "full", "--torch_dtype", "float32",
        "--attn_impl", "sdpa", "--use_cpu", "true", "--check_model", "false",
        "--max_steps", "1", "--per_device_train_batch_size", "2", "--logging_steps", "1",
        "--gradient_checkpointing", "false", "--report_to", "none",
    )  # fmt: skip
    lines = (tmp_path / "output" / "logging.jsonl").read_text().splitlines()
    (loss, *_) = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert 0 < loss < 2 * math.log(len(processor.tokenizer))
