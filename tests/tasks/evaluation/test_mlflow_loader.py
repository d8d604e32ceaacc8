"""A registered checkpoint answers questions about files through MLflow alone."""

import json
from pathlib import Path
from typing import Any, TypeAlias

import mlflow
import pandas as pd
import pytest
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from infra.registry import Checkpoint, Registry
from infra.tracking import Tracking
from model.checkpoints.checkpoint import save_checkpoint
from model.checkpoints.construct import build_model
from model.tokenizer import build_processor, train_tokenizer
from tasks.recordings.decode import DecodeError
from tasks.training.mlflow_model import write_mlflow_model
from tests.support.oracle import CLIPS, RECIPE, TEXTS
from tests.support.recordings import sound_file, tone

Model: TypeAlias = Any
QUESTIONS = ("What is the sound?", "recognize the speech")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in a store, and two recordings."""
    folder = tmp_path_factory.mktemp("registered")
    processor = build_processor(train_tokenizer(TEXTS, RECIPE.vocab_size, ["en"]), 80)
    checkpoint = folder / "store" / "sft" / "f1" / "checkpoint"
    save_checkpoint(checkpoint, build_model(RECIPE, processor.tokenizer), processor)
    write_mlflow_model(checkpoint)
    for name in ("odd", "long"):
        data = sound_file(CLIPS[name].numpy(), subtype="FLOAT")
        (folder / f"{name}.wav").write_bytes(data)
    (folder / "minute.wav").write_bytes(sound_file(tone(60)))
    return folder


@pytest.fixture(scope="module")
def registered(folder: Path) -> Model:
    """As a user loads it: by the name of the model and an alias."""
    tracking = Tracking(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    run = tracking.start_pipeline("tiny", {})
    checkpoint = Checkpoint(f"{folder}/store/sft/f1/checkpoint", "sft", "f1", run.run_id)
    Registry(tracking.uri).register("qwen2-audio-tiny", "sft", checkpoint)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking.uri)
    yield mlflow.pyfunc.load_model("models:/qwen2-audio-tiny@sft")
    mlflow.set_tracking_uri(before)


def answer_in_transformers(folder: Path, text: str, clip: str, max_new_tokens: int) -> str:
    checkpoint = folder / "store" / "sft" / "f1" / "checkpoint"
    processor = Qwen2AudioProcessor.from_pretrained(checkpoint)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(checkpoint).eval()
    inputs = processor(
        text=text, audio=[CLIPS[clip].numpy()], sampling_rate=16_000, return_tensors="pt"
    )
    ids = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    new = ids[0, inputs.input_ids.shape[1] :]
    answer: str = processor.tokenizer.decode(new, skip_special_tokens=True)
    return answer


def chat(folder: Path, question: str) -> str:
    processor = Qwen2AudioProcessor.from_pretrained(folder / "store/sft/f1/checkpoint")
    content = [{"type": "audio", "audio_url": "-"}, {"type": "text", "text": question}]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return text


def test_a_version_answers_questions_about_files_as_transformers_does(
    registered: Model, folder: Path
) -> None:
    rows = [
        {"audio": str(folder / f"{clip}.wav"), "question": question}
        for clip, question in zip(("odd", "long"), QUESTIONS, strict=True)
    ]
    expected = [
        answer_in_transformers(folder, chat(folder, row["question"]), clip, 6)
        for row, clip in zip(rows, ("odd", "long"), strict=True)
    ]
    assert len(set(expected)) == 2
    for question in (rows, pd.DataFrame(rows)):
        assert registered.predict(question, params={"max_new_tokens": 6}) == expected


def test_a_pretrained_one_is_asked_in_its_own_format(registered: Model, folder: Path) -> None:
    row = {"audio": f"file://{folder}/odd.wav", "question": QUESTIONS[1]}
    prompt = f"<|audio_bos|><|AUDIO|><|audio_eos|>{QUESTIONS[1]}"
    params = {"max_new_tokens": 5, "format": "completion"}
    expected = answer_in_transformers(folder, prompt, "odd", 5)
    assert registered.predict([row], params=params) == [expected]


def test_mlflow_shows_what_is_asked_and_answered(registered: Model) -> None:
    signature = registered.metadata.signature
    assert signature.inputs.input_names() == ["audio", "question"]
    assert [str(kind) for kind in signature.outputs.input_types()] == ["DataType.string"]
    assert [param.name for param in signature.params] == ["max_new_tokens", "format"]
    assert list(registered.input_example.columns) == ["audio", "question"]


def test_what_can_not_be_heard_is_refused(registered: Model, folder: Path) -> None:
    def ask(audio: str) -> None:
        registered.predict([{"audio": audio, "question": "?"}])

    with pytest.raises(DecodeError, match=r"minute.wav has 60.0 s; the model hears 30 s at once"):
        ask(f"{folder}/minute.wav")
    with pytest.raises(DecodeError, match="missing_file"):
        ask(f"{folder}/nothing.wav")


def test_the_description_has_neither_a_time_nor_a_random_id(tmp_path: Path) -> None:
    """An artifact that is made again has the bytes of the first."""
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_mlflow_model(tmp_path / name)
        made.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert json.loads(made[0]["input_example.json"])["columns"] == ["audio", "question"]
