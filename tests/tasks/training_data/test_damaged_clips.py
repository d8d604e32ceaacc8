"""Damaged clips in training: named, skipped without a trace in the numbers, or the end."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Qwen2AudioProcessor

from data_contracts.records import Clip, Conversation, PackedClip, Turn
from infra.storage.store import Store
from model.augment import AugmentRecipe
from model.checkpoints.construct import ModelRecipe, build_model
from model.tokenizer import build_processor, train_tokenizer
from tasks.corpus.reader import ClipReader, DamagedClipError
from tasks.corpus.shards import MadeClip, write_index, write_shard
from tasks.objectives.supervised import SupervisedFactory, SupervisedObjective
from tasks.training_data.damaged_clips import (
    DamagePolicy,
    TooManyDamagedError,
    TrainingClips,
    skipped_clips,
)
from tests.support.recordings import noise

NAMES = ["a", "b", "c", "d"]
EXAMPLES = tuple(
    (
        Conversation(
            id=name,
            format="completion",
            turns=(
                Turn(role="user", text="say", audio=(name,)),
                Turn(role="assistant", text=f"words of {name}"),
            ),
            task="asr",
        ),
    )
    for name in NAMES
)
SKIP = DamagePolicy(on_damaged="skip")


def corpus(folder: Path, damaged: str = "") -> tuple[Store, list[PackedClip]]:
    """Four clips of different lengths; a bit of those in `damaged` is turned in the shard."""
    store = Store(str(folder))
    clips = (
        MadeClip(Clip(id=name, audio="-", targets={}), noise(0.5 + i / 10, i), 0.0, (name,))
        for i, name in enumerate(NAMES)
    )
    rows = write_shard(store, 0, clips)
    path = folder / rows[0].shard
    data = bytearray(path.read_bytes())
    for row in rows:
        if row.id in damaged:
            data[row.offset + row.size // 2] ^= 1
    path.write_bytes(data)
    return store, rows


@pytest.fixture(scope="module")
def processor() -> Qwen2AudioProcessor:
    return build_processor(train_tokenizer(["words of a b c d say"], 320, ["en"]), 80)


def objective(
    folder: Path, processor: Qwen2AudioProcessor, damaged: str, policy: DamagePolicy = SKIP
) -> SupervisedObjective:
    store, rows = corpus(folder, damaged)
    factory = SupervisedFactory(
        store, EXAMPLES, AugmentRecipe(), 0.0, seed=0, skipping=policy.skipping(store)
    )
    return SupervisedObjective(factory, ClipReader(store, rows), processor)


def test_by_default_a_damaged_clip_ends_the_run_and_is_named(
    tmp_path: Path, processor: Qwen2AudioProcessor
) -> None:
    strict = objective(tmp_path, processor, "b", DamagePolicy())
    assert strict.prepare([0, 2], 0).weight > 0
    with pytest.raises(DamagedClipError, match=r"clip 'b' in .*shard-00000.tar at byte \d+"):
        strict.prepare([0, 1], 0)


def test_the_loss_with_a_skipped_clip_is_that_of_the_others_in_any_split(
    tmp_path: Path, processor: Qwen2AudioProcessor
) -> None:
    recipe = ModelRecipe(
        audio_layers=1, audio_width=16, audio_heads=2, audio_ffn=16, text_layers=1, text_width=16,
        text_heads=2, text_kv_heads=2, text_ffn=16, vocab_size=320,
    )  # fmt: skip
    model = build_model(recipe, processor.tokenizer)
    whole = objective(tmp_path / "whole", processor, "")
    skipping = objective(tmp_path / "damaged", processor, "b")

    def loss(source: SupervisedObjective, batches: list[list[int]]) -> tuple[float, float, float]:
        model.zero_grad()
        prepared = [source.prepare(some, 3) for some in batches]
        losses = [source.outcome(model, batch).loss for batch in prepared]
        torch.stack(losses).sum().backward()
        assert all(batch.batch.features for batch in prepared)  # every one of them has audio
        norm = float(model.model.audio_tower.conv1.weight.grad.norm())
        return sum(map(Tensor.item, losses)), sum(batch.weight for batch in prepared), norm

    expected = loss(whole, [[0, 2, 3]])
    assert expected[1] > 0
    for batches in ([[0, 1, 2, 3]], [[0, 2], [1, 3]], [[0], [1], [2, 3]]):
        assert loss(skipping, batches) == pytest.approx(expected, rel=1e-5)


def test_each_skipped_clip_is_noted_once_with_its_place(
    tmp_path: Path, processor: Qwen2AudioProcessor
) -> None:
    for _ in range(2):  # two workers, or two attempts
        source = objective(tmp_path, processor, "b")
        for step in range(2):
            source.prepare([0, 1], step)
    store, rows = corpus(tmp_path)
    write_index(store, rows)
    (note,) = skipped_clips(store, store)
    assert (note.id, note.offset) == ("b", rows[1].offset)
    assert note.shard.endswith("corpus/shard-00000.tar")


@pytest.mark.parametrize(
    "damaged", [b"", b'{"id": "b"', b"\xff", b'{"id":"c","shard":"x","offset":0}\n']
)
def test_a_damaged_note_is_made_again_from_the_index(
    tmp_path: Path, processor: Qwen2AudioProcessor, damaged: bytes
) -> None:
    objective(tmp_path, processor, "b").prepare([0, 1], 0)
    store, rows = corpus(tmp_path)
    write_index(store, rows)
    (key,) = store.list_keys("damaged")
    written = store.read_bytes(key)
    store.write_bytes(key, damaged)
    (note,) = skipped_clips(store, store)
    assert note.id == "b"
    assert store.read_bytes(key) == written


def test_more_than_the_allowed_share_ends_the_run(
    tmp_path: Path, processor: Qwen2AudioProcessor
) -> None:
    half = DamagePolicy(on_damaged="skip", max_share=0.5)
    assert objective(tmp_path / "half", processor, "bc", half).prepare([0, 1, 2], 0).weight > 0
    source = objective(tmp_path / "one", processor, "bc", SKIP)
    with pytest.raises(TooManyDamagedError, match=r"2 of 4 clips.*'c' in .*allows 0.10%.*q2a run"):
        source.prepare([0, 1, 2], 0)


def test_a_skipped_clip_is_silence_of_its_length(tmp_path: Path) -> None:
    store, rows = corpus(tmp_path, "b")
    clips = TrainingClips(ClipReader(store, rows), SKIP.skipping(store))
    assert np.array_equal(clips["b"], np.zeros(clips.num_samples("b"), np.float32))
    assert clips.is_skipped("b")
    assert not clips.is_skipped("a")
    assert clips["a"].any()
