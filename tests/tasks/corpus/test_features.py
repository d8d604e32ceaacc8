"""What conversations hear: each clip once, and as many tokens as the network makes of it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data_contracts.records import Conversation, Turn
from model.audio import num_audio_tokens
from tasks.corpus.features import hear

LENGTHS = {"a": 16_000, "b": 40_000, "c": 7_777}


class Noise:
    """Waveforms of known lengths, and what was fetched of them."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def fetch(self, clip_ids: Sequence[str], /) -> None:
        self.fetched += clip_ids

    def __getitem__(self, clip_id: str, /) -> np.ndarray:
        draw = np.random.default_rng(LENGTHS[clip_id])
        return draw.normal(0, 0.1, LENGTHS[clip_id]).astype(np.float32)


def about(*clips: str) -> Conversation:
    turns = (
        Turn(role="user", text="What is said?", audio=clips),
        Turn(role="assistant", text="Nothing."),
    )
    return Conversation(id=f"about {clips}", format="chat", turns=turns, task="asr")


def test_each_clip_is_heard_once_in_the_order_of_its_id() -> None:
    reader = Noise()
    features, tokens = hear(reader, [about("c", "a"), about("b"), about("a")], 80)
    assert reader.fetched == [*features] == [*tokens] == ["a", "b", "c"]
    assert tokens == {clip: num_audio_tokens(length) for clip, length in LENGTHS.items()}
    assert {mel.shape[0] for mel in features.values()} == {80}


def test_tokens_are_those_of_the_changed_features() -> None:
    def halve(clip: str, mel: Tensor) -> Tensor:
        return mel[:, : mel.shape[1] // 4 * 2] if clip == "b" else mel

    features, tokens = hear(Noise(), [about("a", "b")], 80, halve)
    plain, before = hear(Noise(), [about("a", "b")], 80)
    assert torch.equal(features["a"], plain["a"])
    assert tokens["a"] == before["a"]
    assert abs(tokens["b"] - before["b"] / 2) <= 1


def test_a_conversation_of_text_alone_hears_nothing() -> None:
    reader = Noise()
    assert hear(reader, [about()], 80) == ({}, {})
    assert reader.fetched == []
