"""Recordings over 30 s: refused, cut and counted, or packed whole and encoded in windows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from data_contracts.contract_result import enforce
from data_contracts.jsonl import from_jsonl
from data_contracts.records import Conversation, LongAudio, PackedClip, Rejected, Turn
from infra.storage.store import Store
from model.audio import num_audio_tokens
from model.augment import AugmentRecipe
from model.batch import collate
from model.checkpoints.construct import ModelRecipe, build_model
from model.encoder import encode_audio
from model.features import log_mel_spectrogram
from model.forward import cross_entropy
from model.generate import GenerationSettings
from model.sequence import render
from model.tokenizer import build_processor, train_tokenizer
from tasks import ingest
from tasks.context import StageResult
from tasks.conversations.dialogues import completion
from tasks.corpus.features import clip_features
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.evaluation.answerer import Answerer
from tasks.ingest import LONG_AUDIO, IngestRecipe
from tasks.objectives.supervised import SupervisedFactory, SupervisedObjective
from tests.support.recordings import (
    noise,
    row,
    sound_file,
    stage_context,
    tone,
    write_manifest,
    write_tones,
)

SOUND = {"targets": {"sound": "rain", "caption": "Rain falls."}, "language": None, "kind": "sound"}


def run(folder: Path, rows: Sequence[dict[str, Any]], **fields: Any) -> StageResult:
    source = write_manifest(folder, rows)
    recipe = IngestRecipe.model_validate({"max_rejected_share": 1.0} | fields)
    result = ingest.run(stage_context(folder / "out"), recipe, source)
    for contract in ingest.check(Store(str(folder / "out"))):
        enforce(contract)
    return result


def packed_in(folder: Path) -> dict[str, PackedClip]:
    return {clip.id: clip for clip in read_index(Store(str(folder / "out")))}


def rejected_in(folder: Path) -> dict[str, Rejected]:
    path = folder / "out" / "rejected.jsonl"
    return {row.id: row for row in from_jsonl(path.read_text(), Rejected, str(path))}


def write_noises(folder: Path, **seconds: float) -> None:
    for seed, (name, duration) in enumerate(seconds.items()):
        (folder / f"{name}.wav").write_bytes(sound_file(noise(duration, seed)))


def test_without_a_policy_long_recordings_are_rejected_with_their_length(tmp_path: Path) -> None:
    write_noises(tmp_path, long=70, short=2)
    result = run(tmp_path, [row("long", **SOUND), row("short", **SOUND)])
    assert packed_in(tmp_path).keys() == {"short"}
    (rejected,) = rejected_in(tmp_path).values()
    assert (rejected.id, rejected.reason) == ("long", "too_long")
    assert rejected.detail == ("long lasts 70.000 s; ingest.long_audio = reject packs at most 30 s")
    assert result.metrics == {"long_clips": 0, "cut_clips": 0, "cut_seconds": 0}


def test_cut_keeps_the_first_30_seconds_and_counts_the_others(tmp_path: Path) -> None:
    write_noises(tmp_path, long=70, longer=30.5, short=2)
    result = run(tmp_path, [row(n, **SOUND) for n in ("long", "longer", "short")], long_audio="cut")
    packed = packed_in(tmp_path)
    assert {name: clip.cut_seconds for name, clip in packed.items()} == {
        "long": 40.0,
        "longer": 0.5,
        "short": 0.0,
    }
    heard = ClipReader(Store(str(tmp_path / "out")), list(packed.values()))["long"]
    assert len(heard) == packed["long"].num_samples == 480_000
    assert np.abs(heard - noise(70, 0)[:480_000]).max() < 1 / 32768
    assert result.metrics == {"long_clips": 0, "cut_clips": 2, "cut_seconds": 40.5}
    assert LongAudio.model_validate_json((tmp_path / "out" / LONG_AUDIO).read_text()) == LongAudio(
        policy="cut", max_seconds=30, long_clips=0, cut_clips=2, cut_seconds=40.5
    )


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({"targets": {"asr": "a b"}}, "asr"),
        ({"targets": {"lid": "English", "s2tt": "a b"}}, "s2tt"),
        ({"targets": {"digits": "1 2"}}, "digits"),
        ({"targets": {"voice_chat": "Yes."}}, "voice_chat"),
        (
            {
                "targets": {},
                "conversation": [
                    {"role": "user", "text": "What is said last?"},
                    {"role": "assistant", "text": "Bye."},
                ],
            },
            "conversation",
        ),
    ],
)
def test_what_has_an_answer_about_all_of_it_is_never_cut(
    labels: dict[str, Any], named: str, tmp_path: Path
) -> None:
    write_noises(tmp_path, long=31)
    write_noises(tmp_path, short=2)
    run(tmp_path, [row("long", **labels), row("short", **SOUND)], long_audio="cut")
    (rejected,) = rejected_in(tmp_path).values()
    assert rejected.reason == "too_long_to_cut"
    assert f"its {named} may be about" in rejected.detail
    assert "ingest.long_audio = windows" in rejected.detail


def test_windows_keep_everything_up_to_the_limit_but_a_remainder_without_a_token(
    tmp_path: Path,
) -> None:
    write_noises(tmp_path, two=61, rest=30 + 320 / 16_000, limit=65, over=65.1)
    result = run(
        tmp_path,
        [row(name, targets={"asr": "a b"}) for name in ("two", "rest", "limit", "over")],
        long_audio="windows",
        max_seconds=65,
    )
    packed = packed_in(tmp_path)
    assert {name: (clip.num_samples, clip.cut_seconds) for name, clip in packed.items()} == {
        "two": (61 * 16_000, 0.0),
        "rest": (480_000, 0.02),
        "limit": (65 * 16_000, 0.0),
    }
    assert rejected_in(tmp_path)["over"].reason == "too_long"
    assert "windows packs at most 65 s" in rejected_in(tmp_path)["over"].detail
    assert result.metrics == {"long_clips": 2, "cut_clips": 1, "cut_seconds": 0.02}


def test_what_was_cut_of_a_part_counts_for_the_composition(tmp_path: Path) -> None:
    write_noises(tmp_path, rain=40)
    write_tones(tmp_path, ["ask"])
    ask = row("ask", kind="command", phrase="what sound is this", targets={"asr": "what"})
    compose = {"digit_strings": {}, "spoken_commands": {"train": 1}}
    run(tmp_path, [row("rain", **SOUND), ask], long_audio="cut", compose=compose)
    made = packed_in(tmp_path)["command-train-00000"]
    assert (made.num_samples, made.cut_seconds) == (480_000, 10.0)
    assert made.origin == ("rain", "ask")


@pytest.mark.parametrize("fields", [{"long_audio": "split"}, {"max_seconds": 29.0}])
def test_another_policy_or_a_limit_below_one_window_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        IngestRecipe.model_validate(fields)


def test_70_seconds_go_from_the_file_to_the_loss_and_to_an_answer(tmp_path: Path) -> None:
    long, short = tone(70, 300) * np.linspace(0.1, 1, 70 * 16_000), tone(2, 500)
    (tmp_path / "long.wav").write_bytes(sound_file(long, subtype="PCM_16"))
    (tmp_path / "short.wav").write_bytes(sound_file(short))
    rows = [row("long", targets={"asr": "a b c"}), row("short", targets={"asr": "d"})]
    run(tmp_path, rows, long_audio="windows")
    corpus = Store(str(tmp_path / "out"))
    index = read_index(corpus)
    reader = ClipReader(corpus, index)
    tokenizer = train_tokenizer(["a b c d"] * 3, 300, ["en"])
    processor = build_processor(tokenizer, 80)
    recipe = ModelRecipe(
        audio_layers=1, audio_width=16, audio_heads=2, audio_ffn=16, text_layers=1, text_width=16,
        text_heads=2, text_kv_heads=2, text_ffn=16, vocab_size=320,
    )  # fmt: skip
    model = build_model(recipe, tokenizer)

    features = clip_features(reader, ["long", "short"], 80)
    tokens_per_clip = {clip.id: num_audio_tokens(clip.num_samples) for clip in index}
    assert tokens_per_clip == {"long": 1750, "short": 50}
    asked = [completion(clip, "asr", "Transcribe:") for clip in index]
    batch = collate([render(c, tokenizer, tokens_per_clip) for c in asked], features)
    audio, counts = encode_audio(model, batch.features)
    assert counts == (1750, 50)
    windows = [torch.from_numpy(part) for part in np.split(reader["long"], [480_000, 960_000])]
    apart, _ = encode_audio(model, log_mel_spectrogram(windows, 80))
    torch.testing.assert_close(audio[:1750], apart, atol=1e-5, rtol=0)
    assert torch.isfinite(cross_entropy(model, batch, 0.0))

    factory = SupervisedFactory(corpus, tuple((c,) for c in asked), AugmentRecipe(), 0.0, seed=0)
    objective = SupervisedObjective(factory, reader, processor)
    outcome = objective.outcome(model.train(), objective.prepare([0, 1], step=0))
    outcome.loss.backward()
    assert torch.isfinite(model.model.audio_tower.conv1.weight.grad).all()
    assert outcome.counts["audio_seconds"] == pytest.approx(72, rel=0.1)

    answerer = Answerer(model.eval(), processor, reader)
    prompt = Conversation(
        id="p", format="chat", task="asr",
        turns=(Turn(role="user", text="Which is longer?", audio=("long", "short")),),
    )  # fmt: skip
    ((answer,),) = answerer.answer([prompt], GenerationSettings(max_new_tokens=2))
    assert isinstance(answer, str)
