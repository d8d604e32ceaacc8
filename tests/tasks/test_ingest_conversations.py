"""Conversations with several recordings, from a foreign form to dialogues, pairs and hygiene."""

import json
from pathlib import Path

import pytest

from data_contracts.contract_result import enforce
from infra.storage.store import Store
from tasks.corpus.artifact import DIALOGUES, read_conversations
from tasks.corpus.pairs import read_pairs
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.ingest import check, check_source
from tests.support.foreign_rows import CASES, write_rows
from tests.support.ingests import BARE, rejected_in, run

TALK = CASES["several turns and recordings"][1]
ALONE = CASES["rejected response"][1] | {"audios": ["a.wav"]}
LENIENT = BARE.model_copy(update={"max_rejected_share": 0.9})


def test_a_conversation_hears_each_of_its_recordings_in_its_turn(tmp_path: Path) -> None:
    source = write_rows(tmp_path, [TALK | {"id": "talk"}])
    for each in check_source(source):
        enforce(each)
    result = run(tmp_path / "out", BARE, source)
    store = Store(str(tmp_path / "out"))
    for each in check(store):
        enforce(each)
    assert (result.records_in, result.records_out) == (3, 3)
    (dialogue,) = read_conversations(store, DIALOGUES)
    assert dialogue.clip_ids == ("talk/1", "talk/2", "talk/3")
    assert [turn.role for turn in dialogue.turns] == [m["role"] for m in TALK["messages"]]
    reader = ClipReader(store, read_index(store))
    assert [len(reader[clip]) for clip in dialogue.clip_ids] == [8_000] * 3


def test_recordings_in_the_rows_themselves_are_packed_with_where_they_came_from(
    tmp_path: Path,
) -> None:
    run(tmp_path / "out", BARE, write_rows(tmp_path, [CASES["OpenAI's input_audio"][1]]))
    (packed,) = read_index(Store(str(tmp_path / "out")))
    (origin,) = packed.sources
    assert (origin.audio, origin.encoding) == ("rows.jsonl", "base64")
    assert packed.num_samples == 8_000


def test_the_worse_answer_of_a_pair_is_kept_beside_its_conversation(tmp_path: Path) -> None:
    run(tmp_path / "out", BARE, write_rows(tmp_path, [ALONE]))
    (packed,) = read_index(Store(str(tmp_path / "out")))
    assert packed.rejected == "A dog."


@pytest.mark.parametrize("lost", ["a.wav", "b.wav"])
def test_a_conversation_that_lost_a_recording_is_left_out_and_the_others_stay(
    lost: str, tmp_path: Path
) -> None:
    source = write_rows(tmp_path, [TALK | {"id": "talk"}, ALONE | {"audios": ["c.wav"]}])
    (tmp_path / lost).write_text("no recording")
    run(tmp_path / "out", LENIENT, source)
    store = Store(str(tmp_path / "out"))
    for each in check(store):
        enforce(each)
    (pair,) = read_pairs(store)
    assert pair.prompt.clip_ids == ("row-000002",)
    rejected = {row.id: row for row in rejected_in(tmp_path / "out")}
    if lost == "b.wav":
        assert {row.reason for row in rejected.values()} == {"not_audio", "missing_part"}
        assert "names 'talk/2', which was rejected: not_audio" in rejected["talk/1"].detail
    else:
        assert list(rejected) == ["talk/1"]


def test_two_rows_of_one_id_break_the_contract_of_the_manifest(tmp_path: Path) -> None:
    rows = [TALK | {"id": "talk"}, json.loads(json.dumps(TALK | {"id": "talk"}))]
    (result,) = check_source(write_rows(tmp_path, rows))
    assert "manifest.id_is_unique" in [outcome.rule for outcome in result.failed]
