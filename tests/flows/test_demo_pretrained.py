"""The demo that begins with real Whisper and SmolLM2 weights. An hour where it has not run yet."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import pad
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from flows.config import load_config
from flows.pipeline import pipeline
from flows.plan import Planner
from flows.runners import open_ledger
from infra.settings import Settings
from model.checkpoints.assemble import assemble
from model.encoder import encode_frames
from tasks.evaluate import read_report
from tasks.evaluation.report import Report
from tasks.recordings.decode import decode

pytestmark = pytest.mark.hour

ROOT = Path(__file__).parents[2]
PROFILE = "demo-pretrained"
TRANSCRIBE_ENGLISH = (50258, 50259, 50359, 50363)
"""<|startoftranscript|><|en|><|transcribe|><|notimestamps|> of multilingual Whisper."""


@pytest.fixture(scope="module")
def weights() -> Path:
    """The converted packages, fetched now where they are missing."""
    subprocess.run(["make", "pretrained"], cwd=ROOT, check=True)
    return ROOT / "runs" / "pretrained"


@pytest.fixture(scope="module")
def speech() -> Tensor:
    """A real person says that an agent has logged off."""
    path = ROOT / "data/audio/asterisk/en/ast-en-agent-loggedoff.opus"
    return torch.from_numpy(decode(path.read_bytes(), path.name).waveform)


def test_the_converted_whisper_transcribes_a_real_recording(weights: Path, speech: Tensor) -> None:
    whisper = WhisperForConditionalGeneration.from_pretrained(weights / "whisper-base").eval()
    tokenizer = Tokenizer.from_file(str(weights / "whisper-base" / "tokenizer.json"))
    mel = WhisperFeatureExtractor()(speech.numpy(), sampling_rate=16_000, return_tensors="pt")
    ids = list(TRANSCRIBE_ENGLISH)
    with torch.inference_mode():
        frames = whisper.model.encoder(mel.input_features)
        for _ in range(12):
            logits = whisper(encoder_outputs=frames, decoder_input_ids=torch.tensor([ids])).logits[
                0, -1
            ]
            ids.append(int(logits.argmax()))
    text = tokenizer.decode(ids, skip_special_tokens=True).lower()
    assert "agent" in text
    assert "logged off" in text


def test_the_converted_language_model_knows_a_capital(weights: Path) -> None:
    folder = weights / "smollm2-135m-instruct"
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    text = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    prompt = tokenizer(text, return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(answer)


def test_the_assembled_encoders_frames_are_whispers(weights: Path) -> None:
    model, _ = assemble(weights / "whisper-base", weights / "smollm2-135m-instruct", seed=0)
    whisper = WhisperForConditionalGeneration.from_pretrained(weights / "whisper-base").eval()
    encoder = whisper.model.encoder
    noise = 0.1 * np.random.default_rng(1).normal(size=480_000).astype(np.float32)
    layers: list[Tensor] = []
    encoder.layer_norm.register_forward_pre_hook(lambda _, inputs: layers.append(inputs[0]))
    mel = WhisperFeatureExtractor()(noise, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        encoder(mel.input_features)
        pooled = layers[0][0].unflatten(0, (750, 2)).mean(1)
        expected = encoder.layer_norm(pooled)
        # The convolution pads 30 s with two frames of zeros.
        ours, counts = encode_frames(model, [pad(mel.input_features[0], (0, 2))])
    assert counts == (750,)
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.fixture(scope="module")
def report(weights: Path) -> Report:
    """The report of `make demo-pretrained` in this checkout, made now where it is missing."""
    home = weights.parent
    variables = {"Q2A_HOME": str(home), "Q2A_STORE": "", "Q2A_TRACKING_URI": ""}
    command = [str(Path(sys.executable).parent / "q2a"), "run", "--profile", PROFILE]
    subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=True)
    ledger = open_ledger(Settings(home=home, store="", tracking_uri=""))
    planner = Planner(ledger)
    places = {
        "data.manifest": ROOT / "data/manifest.jsonl",
        "weights.audio_encoder": weights / "whisper-base",
        "weights.language_model": weights / "smollm2-135m-instruct",
    }
    pipeline(load_config(PROFILE, [f"{k}={v}" for k, v in places.items()]), planner)
    last = planner.planned[-1]
    assert last.state == "hit"
    return read_report(ledger.directory(last.stage, last.fingerprint))


@pytest.mark.parametrize("checkpoint", ["pretrain", "sft", "dpo"])
def test_held_out_phrases_of_seen_languages_are_transcribed(
    report: Report, checkpoint: str
) -> None:
    result = report.result("asr", checkpoint)
    assert result.metric == "cer"
    assert result.value <= 0.5
