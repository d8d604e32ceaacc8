"""Answers questions about recordings as an MLflow model: `mlflow.pyfunc.load_model` loads it.

    model = mlflow.pyfunc.load_model("models:/qwen2-audio-demo@dpo")
    model.predict([{"audio": "dog.wav", "question": "What is heard?"}])

`tasks.training.mlflow_model` names this module in the checkpoints that are exported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_contracts.records import Conversation, Turn
from model.audio import MAX_SECONDS
from model.checkpoints.checkpoint import load_checkpoint
from model.generate import GenerationSettings
from tasks.evaluation.answerer import Answerer
from tasks.recordings.decode import DecodeError, decode
from tasks.recordings.read import read_audio
from tasks.training.mlflow_model import MAX_NEW_TOKENS


class Recordings:
    """Waveforms of files anywhere, by path or URL."""

    def fetch(self, urls: Sequence[str], /) -> None:
        """Do nothing: a file is read when it is needed."""

    def __getitem__(self, url: str, /) -> np.ndarray:
        """Read and decode a recording: float32 [num_samples] at 16 kHz.

        Raises:
            DecodeError: it can't be read, or is longer than the model hears.
        """
        recording = decode(read_audio(url), url)
        if recording.seconds > MAX_SECONDS:
            raise DecodeError(
                "too_long",
                f"{url} has {recording.seconds:.1f} s; the model hears {MAX_SECONDS:g} s at once. "
                "Cut it, and ask about each part",
            )
        return recording.waveform


class RecordingModel:
    """A checkpoint that answers questions, in the form that MLflow's pyfunc wants."""

    def __init__(self, directory: Path) -> None:
        """Load the checkpoint in a local folder.

        Raises:
            CheckpointError: like `load_checkpoint`.
        """
        self._answerer = Answerer(*load_checkpoint(directory), Recordings())

    def predict(
        self, questions: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Answer each row of `questions` greedily, in order.

        Args:
            questions: with the columns `audio` (path or URL of a recording of at most 30 s) and
                `question`.
            params: `max_new_tokens`, and `format`: "chat", or "completion" for a checkpoint that
                was pre-trained alone.

        Raises:
            DecodeError: a recording can't be read or decoded, or is too long.
            SequenceError: a question has a control token.
        """
        given = params or {}
        settings = GenerationSettings(
            max_new_tokens=given.get("max_new_tokens", MAX_NEW_TOKENS),
        )
        conversations = [
            Conversation(
                id=f"row {number}",
                format=given.get("format", "chat"),
                turns=(Turn(role="user", text=row.question, audio=(row.audio,)),),
                task="question",
            )
            for number, row in enumerate(questions.itertuples(index=False))
        ]
        return [answer for (answer,) in self._answerer.answer(conversations, settings)]


def _load_pyfunc(path: str) -> RecordingModel:
    """Load the checkpoint in a folder; MLflow calls it by this name."""
    return RecordingModel(Path(path))
