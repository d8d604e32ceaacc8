"""What an evaluation suite asks about is found in training, whatever the suite."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from data_contracts.contract_result import enforce
from data_contracts.hygiene import Finding
from data_contracts.jsonl import from_jsonl
from infra.storage.store import Store
from tasks import ingest
from tasks.conversations.suites import num_suites
from tasks.conversations.task_table import shipped_tasks
from tasks.corpus.artifact import read_suites
from tasks.corpus.compose import ComposeRecipe
from tasks.corpus.shards import read_index
from tasks.hygiene import inspect as inspection
from tasks.ingest import IngestRecipe
from tests.support.audio_copies import as_mp3, louder, manifest_rows, read
from tests.support.recordings import row, sound_file, stage_context, write_manifest

SPEECH = [r for r in manifest_rows() if r["kind"] == "speech" and r["seconds"] > 1]
CHOICE: dict[str, Any] = {
    "question": "Which animal is heard third?\nA. a dog\nB. a cat",
    "targets": {"choice": "B. a cat"},
}
CHAT: dict[str, Any] = {
    "conversation": [
        {"role": "user", "text": "Where does the speaker want to go?"},
        {"role": "assistant", "text": "To the old harbour."},
    ]
}
TEXTS: dict[str, dict[str, Any]] = {
    "asr": {"targets": {"asr": "We sail to the old harbour"}, "language": "en"},
    "s2tt": {"targets": {"s2tt": "Wir segeln zum alten Hafen"}, "language": "en",
             "target_language": "de"},
    "voice_chat": {"targets": {"voice_chat": "Yes."}, "phrase": "is the harbour old"},
    "choice": CHOICE,
    "conversation": CHAT,
}  # fmt: skip


def made(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Store:
    context = stage_context(folder / "out")
    composed = ComposeRecipe(digit_strings={"test": 5}, spoken_commands={"test": 5})
    ingest.run(context, IngestRecipe(compose=composed), write_manifest(folder, rows))
    return context.directory


def findings(directory: Store) -> list[Finding]:
    return from_jsonl(directory.read_text(inspection.FINDINGS), Finding, "hygiene")


def recordings_asked(directory: Store) -> dict[str, str]:
    """Suite -> the id of a recording that it asks about."""
    origins = {clip.id: clip.origin for clip in read_index(directory)}
    return {
        name: origins[items[0].conversation.clip_ids[0]][0]
        for name, items in read_suites(directory)
    }


def test_a_recording_of_every_suite_that_trains_is_a_leak_that_names_the_suite(
    small_manifest: Path, tmp_path: Path
) -> None:
    """A suite of each kind; what it asks about is planted at another level and in MP3."""
    rows = [json.loads(line) for line in small_manifest.read_text().splitlines()]
    labels: dict[str, dict[str, Any]] = {
        task: {"targets": {task: text}, "kind": "sound"}
        for task, text in (("vocal", "a cough"), ("ser", "joy"), ("caption", "Rain falls."))
    } | {"choice": CHOICE, "s2tt": TEXTS["s2tt"]}
    spare = [r for r in SPEECH if r["split"] == "test" and r["id"] not in {x["id"] for x in rows}]
    for (task, label), recording in zip(labels.items(), spare[::40], strict=False):
        more = row(f"only-{task}", audio=recording["audio"], split="test", language="en")
        rows.append(more | label | {"speaker": f"{task} speaker"})
    asked = recordings_asked(made(tmp_path / "before", rows))
    # Questions of whole conversations are of no one recording's kind.
    assert len(asked) == num_suites(shipped_tasks()) - 1, f"no suite of some kind: {sorted(asked)}"

    by_id = {found["id"]: found for found in rows}
    for suite, name in asked.items():
        (tmp_path / f"{suite}.mp3").write_bytes(as_mp3(louder(read(by_id[name]), -12)))
        planted = {"audio": str(tmp_path / f"{suite}.mp3"), "targets": {"caption": suite}}
        rows.append(row(f"planted-{suite}", kind="sound", language=None, **planted))
    leaks = {
        found.clip: found for found in findings(made(tmp_path / "after", rows))
        if found.kind == "audio_leak"
    }  # fmt: skip
    assert leaks.keys() == {f"planted-{suite}" for suite in asked}
    for suite in asked:
        _, told = leaks[f"planted-{suite}"].detail.split(", asked in ")
        assert suite in told.split(", ")


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_of_every_suite_that_has_texts_of_its_own_is_found_in_training(
    kind: str, tmp_path: Path
) -> None:
    """Other voices and other recordings: the words alone."""
    for number, recording in enumerate(SPEECH[:2]):
        (tmp_path / f"{number}.wav").write_bytes(sound_file(read(recording)))
    rows = [
        {"id": split, "audio": f"{number}.wav", "split": split, "speaker": split} | TEXTS[kind]
        for number, split in enumerate(("train", "test"))
    ]
    directory = made(tmp_path, rows)
    expected = "shared_question" if kind in ("choice", "conversation") else "text_leak"
    (found,) = [f for f in findings(directory) if f.kind in ("text_leak", "shared_question")]
    assert (found.kind, found.clip, found.other) == (expected, "train", "test")
    assert found.detail.startswith(f"{kind} text ")
    *_, result = ingest.check(directory)
    if expected == "shared_question":  # reported, because many recordings may be asked alike
        enforce(result)
        assert [o.rule for o in result.reported] == ["hygiene.no_shared_question"]
    else:
        assert [o.rule for o in result.failed] == ["hygiene.no_text_leak"]


def test_another_answer_or_another_question_is_shared_by_nobody(tmp_path: Path) -> None:
    for number, recording in enumerate(SPEECH[:3]):
        (tmp_path / f"{number}.wav").write_bytes(sound_file(read(recording)))
    rows = [
        {"id": "a", "audio": "0.wav", "split": "test", **CHOICE},
        {"id": "b", "audio": "1.wav", "targets": {"choice": "A. a dog"},
         "question": CHOICE["question"]},
        {"id": "c", "audio": "2.wav", "targets": CHOICE["targets"],
         "question": CHOICE["question"].replace("third", "first")},
    ]  # fmt: skip
    kinds = {found.kind for found in findings(made(tmp_path, rows))}
    assert not kinds & {"shared_question", "similar_text", "text_leak"}
