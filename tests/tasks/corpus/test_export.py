"""What is exported in a form comes back with equal messages, recordings and labels."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.records import Clip
from infra.storage.store import Store
from model.tokenizer import CONTROL_TOKENS
from tasks.corpus.export import ExportError, PackedCorpus, SourceRows, export
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.recordings.decode import decode
from tasks.recordings.read import LastRead
from tasks.sources.forms.table import find_form
from tasks.sources.forms.talk import AUDIO_TAG, Inline, Message, Talk
from tasks.sources.forms.writers import WRITERS, AudioFile, Exported, FormName, Said
from tasks.sources.manifest import DataSource, DataSourceError
from tests.support.foreign_rows import CASES, NAMES, audio_bytes, meaning_of, write_rows
from tests.support.ingests import BARE, run
from tests.support.recordings import row
from tests.support.source_rows import read_source

FORMS: Sequence[FormName] = tuple(WRITERS)
PAIRS = [form for form in FORMS if form != "nemo"]
DIALOGUES = [name for name, (_, _, meaning) in CASES.items() if meaning.rejected is None]


def clips_in(*paths: Path) -> list[Clip]:
    clips: list[Clip] = []
    for path in paths:
        read, rejects = read_source(DataSource(manifest=str(path)))
        assert rejects == []
        clips += read
    return clips


def heard(clips: Sequence[Clip]) -> dict[str, bytes]:
    bytes_of = LastRead()
    return {clip.id: bytes_of(clip)[0] for clip in clips}


@pytest.mark.parametrize("case", DIALOGUES)
@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_comes_back_with_its_messages_and_recordings(
    form: FormName, case: str, tmp_path: Path
) -> None:
    _, foreign, meaning = CASES[case]
    source = write_rows(tmp_path / "in", [foreign])
    assert export(SourceRows(source), form, tmp_path / "out") == {"train.jsonl": 1}
    clips = clips_in(tmp_path / "out/train.jsonl")
    assert meaning_of(clips, heard(clips)) == meaning


@pytest.mark.parametrize("form", PAIRS)
def test_a_pair_comes_back_with_both_answers(form: FormName, tmp_path: Path) -> None:
    _, foreign, meaning = CASES["rejected response"]
    source = write_rows(tmp_path / "in", [foreign, CASES["messages"][1]])
    counts = export(SourceRows(source), form, tmp_path / "out")
    assert counts == {"train-pairs.jsonl": 1, "train.jsonl": 1}
    clips = clips_in(tmp_path / "out/train-pairs.jsonl")
    assert meaning_of(clips, heard(clips)) == meaning
    (plain,) = clips_in(tmp_path / "out/train.jsonl")
    assert plain.rejected is None


@pytest.mark.parametrize("form", [form for form in FORMS if form != "openai"])
def test_ids_splits_and_languages_come_back(form: FormName, tmp_path: Path) -> None:
    about = {"id": "talk 1", "split": "dev", "language": "de"}
    source = write_rows(tmp_path / "in", [CASES["messages"][1] | about])
    export(SourceRows(source), form, tmp_path / "out")
    (clip,) = clips_in(tmp_path / "out/dev.jsonl")
    assert (clip.id, clip.split, clip.language) == ("talk 1", "dev", "de")


def test_transcripts_and_translations_come_back_from_nemo_as_labels(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        row("a"), row("b", targets={"s2tt": "hallo"}, target_language="de", split="test")
    ]  # fmt: skip
    source = write_rows(tmp_path / "in", rows)
    before, _ = read_source(source)
    counts = export(SourceRows(source), "nemo", tmp_path / "out")
    assert counts == {"train-speech.jsonl": 1, "test-speech.jsonl": 1}
    clips = clips_in(*(tmp_path / f"out/{name}" for name in counts))
    kept = {"id", "targets", "language", "target_language", "split"}
    assert [c.model_dump(include=kept) for c in clips] == [
        c.model_dump(include=kept) for c in before
    ]
    assert heard(clips) == heard(before)
    assert [clip.seconds for clip in clips] == [0.5, 0.5]


@pytest.mark.parametrize("form", FORMS)
def test_a_label_is_asked_for_in_the_words_of_its_task(form: FormName, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in", [row("a", targets={"sound": "dog"})])
    export(SourceRows(source), form, tmp_path / "out")
    (clip,) = clips_in(tmp_path / "out/train.jsonl")
    assert [turn.text for turn in clip.conversation] == ["Classify the sound in English:", "dog"]


def test_a_packed_corpus_comes_back_with_the_very_samples(tmp_path: Path) -> None:
    talk = CASES["several turns and recordings"]
    run(tmp_path / "corpus", BARE, write_rows(tmp_path / "in", [talk[1] | {"id": "talk"}]))
    store = Store(str(tmp_path / "corpus"))
    packed = ClipReader(store, read_index(store))
    for form in FORMS:
        export(PackedCorpus(store), form, tmp_path / form)
        clips = clips_in(tmp_path / form / "train.jsonl")
        samples = {name: decode(data, "x").waveform for name, data in heard(clips).items()}
        for clip, name in zip(clips, ("talk/1", "talk/2", "talk/3"), strict=True):
            assert np.array_equal(samples[clip.id], packed[name])
        said = [(turn.role, turn.text) for turn in clips[0].conversation]
        assert said == [(role, text) for role, text, _ in talk[2].turns]


def test_llama_factory_gets_its_dataset_info(tmp_path: Path) -> None:
    rows = [CASES["messages"][1], CASES["rejected response"][1]]
    export(SourceRows(write_rows(tmp_path / "in", rows)), "llama-factory", tmp_path / "out")
    sets = json.loads((tmp_path / "out/dataset_info.json").read_text())
    assert {name: entry["ranking"] for name, entry in sets.items()} == {
        "train": False,
        "train-pairs": True,
    }
    plain, pair = clips_in(tmp_path / "out/dataset_info.json")
    assert (plain.rejected, pair.rejected) == (None, "A dog.")


def test_a_part_of_a_recording_is_exported_alone(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in", [row("a", begin_seconds=0.1, end_seconds=0.3)])
    export(SourceRows(source), "ms-swift", tmp_path / "out")
    (data,) = heard(clips_in(tmp_path / "out/train.jsonl")).values()
    whole = decode(audio_bytes("a"), "a.wav").waveform
    difference = decode(data, "a.flac").waveform - whole[1_600:4_800]
    assert np.abs(difference).max() < 1e-4  # FLAC has 16 bits


def test_an_id_is_no_path(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "in", [row("../../a b", audio="a.wav"), row("a_b", audio="b.wav")]
    )
    export(SourceRows(source), "ms-swift", tmp_path / "out")
    clips = clips_in(tmp_path / "out/train.jsonl")
    assert [clip.id for clip in clips] == ["../../a b", "a_b"]
    assert list(heard(clips).values()) == [audio_bytes("a"), audio_bytes("b")]
    assert {Path(clip.audio).parent for clip in clips} == {tmp_path / "out/audio"}


def test_a_folder_that_has_files_and_a_form_without_place_are_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in", [CASES["rejected response"][1]])
    with pytest.raises(ExportError, match="has files already"):
        export(SourceRows(source), "openai", tmp_path / "in")
    with pytest.raises(ExportError, match="nothing can be written in the form nemo"):
        export(SourceRows(source), "nemo", tmp_path / "out")


@pytest.mark.parametrize(
    ("turn_audio", "why"), [(["gone"], "there is no such row"), (["a"], "missing_file: ")]
)
def test_a_recording_that_is_not_there_is_named(
    turn_audio: list[str], why: str, tmp_path: Path
) -> None:
    turns = [
        {"role": "user", "text": "x", "audio": turn_audio}, {"role": "assistant", "text": "y"}
    ]  # fmt: skip
    own = {"id": "a", "audio": "gone.wav", "conversation": turns}
    source = write_rows(tmp_path / "in", [own])
    with pytest.raises(DataSourceError, match=f"{turn_audio[0]}' can't be exported: {why}"):
        export(SourceRows(source), "ms-swift", tmp_path / "out")


TEXT = st.text(max_size=20).filter(
    lambda text: AUDIO_TAG not in text and not any(token in text for token in CONTROL_TOKENS)
)
ANSWER = TEXT.filter(lambda text: bool(text.strip()))
EXCHANGE = st.tuples(TEXT, st.lists(st.sampled_from(NAMES), max_size=3), ANSWER).filter(
    lambda exchange: bool(exchange[0] or exchange[1])
)


@given(
    system=st.none() | ANSWER,
    exchanges=st.lists(EXCHANGE, min_size=1, max_size=3).filter(lambda turns: bool(turns[0][1])),
    rejected=st.none() | ANSWER,
)
@pytest.mark.parametrize("form", FORMS)
def test_any_conversation_comes_back_from_any_form(
    form: FormName,
    system: str | None,
    exchanges: list[tuple[str, list[str], str]],
    rejected: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    files = {}
    for name in NAMES:
        (folder / f"{name}.wav").write_bytes(audio_bytes(name))
        files[name] = AudioFile(f"{name}.wav", folder / f"{name}.wav", 0.5)
    said = [] if system is None else [Said("system", system)]
    for question, names, answer in exchanges:
        said += [Said("user", question, tuple(files[n] for n in names)), Said("assistant", answer)]
    rejected = None if form == "nemo" else rejected
    written = WRITERS[form](Exported("id", "train", "en", tuple(said), rejected))
    row = json.loads(json.dumps(written))
    reader = find_form(row)
    assert reader is not None
    talk = reader.read(row)
    assert isinstance(talk, Talk)
    names_of = {spelled_of(files[name]): f"{name}.wav" for name in NAMES}
    came_back = tuple(
        Message(
            message.role,
            message.text,
            tuple(names_of[a.base64] if isinstance(a, Inline) else a for a in message.audio),
        )
        for message in talk.messages
    )
    assert came_back == tuple(Message(s.role, s.text, tuple(f.name for f in s.audio)) for s in said)
    assert talk.rejected == rejected


def spelled_of(file: AudioFile) -> str:
    written = WRITERS["openai"](Exported("id", "train", None, (Said("user", "", (file,)),)))
    return str(written["messages"][0]["content"][0]["input_audio"]["data"])
