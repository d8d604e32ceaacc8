"""Every form in the layout of its tool's own documents gives the conversation that it means."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_contracts.records import Clip
from tasks.recordings.read import LastRead
from tasks.sources.manifest import DataSource, source_digest, understood_rows
from tests.support.foreign_rows import CASES, Meaning, meaning_of, write_recordings, write_rows
from tests.support.source_rows import read_source


def clips_in(source: DataSource) -> list[Clip]:
    clips, rejects = read_source(source)
    assert rejects == []
    return clips


def heard_in(clips: list[Clip]) -> dict[str, bytes]:
    bytes_of = LastRead()
    return {clip.id: bytes_of(clip)[0] for clip in clips}


@pytest.mark.parametrize("case", CASES)
def test_a_row_is_recognised_and_means_what_its_tool_says(case: str, tmp_path: Path) -> None:
    form, row, meaning = CASES[case]
    source = write_rows(tmp_path, [row])
    clips = clips_in(source)
    assert {name for name, _ in understood_rows(source)} == {form}
    assert meaning_of(clips, heard_in(clips)) == meaning


def test_all_forms_may_stand_in_one_file_and_as_a_list_and_keep_their_order(tmp_path: Path) -> None:
    rows = [row for _, row, _ in CASES.values()]
    lines = clips_in(write_rows(tmp_path, rows))
    path = tmp_path / "rows.json"
    path.write_text("\ufeff" + json.dumps(rows, indent=2))
    listed = clips_in(DataSource(manifest=str(path)))
    assert [clip.id for clip in listed] == [clip.id for clip in lines]
    assert heard_in(listed) == heard_in(lines)
    holders = [clip for clip in lines if clip.conversation]
    assert [clip.rejected for clip in holders] == [m.rejected for _, _, m in CASES.values()]
    assert len({clip.id for clip in lines}) == len(lines)


def test_each_recording_of_a_conversation_is_a_clip_and_the_first_holds_it(tmp_path: Path) -> None:
    _, row, _ = CASES["several turns and recordings"]
    first, second, third = clips_in(
        write_rows(tmp_path, [row | {"id": "talk", "split": "validation"}])
    )
    assert [c.id for c in (first, second, third)] == ["talk/1", "talk/2", "talk/3"]
    assert [bool(c.conversation) for c in (first, second, third)] == [True, False, False]
    assert {c.split for c in (first, second, third)} == {"dev"}
    assert [turn.audio for turn in first.conversation if turn.role == "user"] == [
        ("talk/1", "talk/2"),
        ("talk/3",),
    ]


def test_base64_with_escaped_slashes_is_read_where_it_stands(tmp_path: Path) -> None:
    _, row, meaning = CASES["OpenAI's input_audio"]
    source = write_rows(tmp_path, [row])
    path = Path(source.manifest or "")
    path.write_text("\n" + path.read_text().replace("/", "\\/"))
    clips = clips_in(source)
    assert meaning_of(clips, heard_in(clips)) == meaning


def test_a_row_with_a_long_recording_may_be_longer_than_other_rows(tmp_path: Path) -> None:
    _, row, _ = CASES["OpenAI's input_audio"]
    (asked, answer) = json.loads(json.dumps(row["messages"]))
    asked["content"][0]["input_audio"]["data"] = "A" * (3 << 20)
    (clip,) = clips_in(write_rows(tmp_path, [{"messages": [asked, answer]}]))
    assert clip.num_bytes == 3 << 20
    assert clip.encoding == "base64"


def test_the_digest_of_a_source_knows_the_recordings_that_stand_in_its_rows(tmp_path: Path) -> None:
    _, row, _ = CASES["OpenAI's input_audio"]
    before = source_digest(write_rows(tmp_path, [row]))
    assert source_digest(write_rows(tmp_path / "moved", [row])) == before
    changed = json.loads(json.dumps(row).replace("UklGR", "UklGS"))
    assert source_digest(write_rows(tmp_path, [changed])) != before


SPEECH: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a transcript": (
        {"audio_filepath": "a.wav", "duration": 0.5, "text": "hello", "lang": "en"},
        {"targets": {"asr": "hello"}, "language": "en", "seconds": 0.5},
    ),
    "a segment": (
        {"audio_filepath": "a.wav", "offset": 0.25, "duration": 0.125, "text": "hello"},
        {"targets": {"asr": "hello"}, "begin_seconds": 0.25, "end_seconds": 0.375},
    ),
    "a length as text": (
        {"audio_filepath": "a.wav", "duration": "0.5", "text": "hello", "lang": "en"},
        {"targets": {"asr": "hello"}, "language": "en", "seconds": 0.5},
    ),
    "Canary's transcript": (
        {"audio_filepath": "a.wav", "text": "hello", "source_lang": "en", "target_lang": "en",
         "taskname": "asr", "pnc": "yes"},
        {"targets": {"asr": "hello"}, "language": "en"},
    ),
    "Canary's translation": (
        {"audio_filepath": "a.wav", "text": "hallo", "source_lang": "en", "target_lang": "de",
         "taskname": "ast", "pnc": "yes"},
        {"targets": {"s2tt": "hallo"}, "language": "en", "target_language": "de"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPEECH)
def test_a_row_of_nemo_is_a_recording_with_its_text(case: str, tmp_path: Path) -> None:
    row, fields = SPEECH[case]
    (clip,) = clips_in(write_rows(tmp_path, [row]))
    expected = Clip.model_validate(
        {"id": "row-000001", "audio": f"{tmp_path}/a.wav", "targets": {}, **fields}
    )
    assert clip == expected


def write_sets(folder: Path) -> Path:
    """A data folder of LLaMA-Factory with three sets in files and one of a hub."""
    write_recordings(folder)
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    sets = {
        "birds": {
            "file_name": "birds.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "audios": "audios"},
            "tags": {**tags, "assistant_tag": "assistant"},
        },
        "pairs": {
            "file_name": "pairs.jsonl",
            "ranking": True,
            "columns": {
                "prompt": "ask", "chosen": "good", "rejected": "bad", "audios": "sounds"
            },
        },
        "far": {"hf_hub_url": "somebody/far"},
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(sets))
    said = [
        {"role": "user", "content": "<audio>Which bird?"},
        {"role": "assistant", "content": "A wren."},
    ]
    (folder / "birds.json").write_text(json.dumps([{"messages": said, "audios": ["a.wav"]}]))
    pair = {"ask": "<audio>Which bird?", "good": "A wren.", "bad": "A dog.", "sounds": ["a.wav"]}
    (folder / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    return folder


def test_dataset_info_names_the_sets_and_their_columns(tmp_path: Path) -> None:
    source = DataSource(manifest=str(write_sets(tmp_path) / "dataset_info.json"))
    clips, rejects = read_source(source)
    assert [clip.id for clip in clips] == ["birds/row-000001", "pairs/row-000001"]
    assert [clip.rejected for clip in clips] == [None, "A dog."]
    assert clips[0].conversation[0].text == clips[1].conversation[0].text == "Which bird?"
    assert [(row.id, "nothing is downloaded" in row.detail) for row in rejects] == [("far", True)]


@pytest.mark.parametrize(("name", "rejected"), [("birds.json", None), ("pairs.jsonl", "A dog.")])
def test_a_file_is_read_as_the_dataset_info_beside_it_says(
    name: str, rejected: str | None, tmp_path: Path
) -> None:
    clips = clips_in(DataSource(manifest=str(write_sets(tmp_path) / name)))
    said = (("user", "Which bird?", ("a",)), ("assistant", "A wren.", ()))
    assert meaning_of(clips, heard_in(clips)) == Meaning(said, rejected)


def test_renamed_columns_of_json_rows_are_found(tmp_path: Path) -> None:
    source = write_rows(tmp_path, [{"wav": "a.wav", "label": "diesel", "talk": None}])
    columns = {"audio": "wav", "targets.sound": "label"}
    (clip,) = clips_in(source.model_copy(update={"columns": columns}))
    assert (clip.audio, clip.targets) == (f"{tmp_path}/a.wav", {"sound": "diesel"})


TABLES = {
    "named.csv": 'audio,text,language,speaker,split\na.wav,"hello, you",en,ann,validation\n',
    "cv.tsv": "client_id\tpath\tsentence\tlocale\tsplit\nann\ta.wav\thello, you\ten\tdev\n",
    "curator.tsv": "audio_filepath\ttext\tpnc\tlanguage\tspeaker\tsplit\n"
    "a.wav\thello, you\tyes\ten_us\tann\tvalid\n",
    "own.csv": "id,audio,task,text,language,speaker,split\n"
    'row-000001,a.wav,asr,"hello, you",en,ann,dev\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_by_the_names_of_its_columns(name: str, tmp_path: Path) -> None:
    write_recordings(tmp_path)
    (tmp_path / name).write_text(TABLES[name])
    (clip,) = clips_in(DataSource(manifest=str(tmp_path / name)))
    assert clip == Clip(
        id="row-000001",
        audio=f"{tmp_path}/a.wav",
        targets={"asr": "hello, you"},
        language="en",
        speaker="ann",
        split="dev",
    )


def test_the_columns_of_a_table_may_be_mapped_and_hold_lists(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    said = json.dumps(CASES["messages"][1]["messages"]).replace('"', '""')
    (tmp_path / "chat.csv").write_text(f'said,files\n"{said}","[""a.wav""]"\n')
    columns = {"messages": "said", "audios": "files"}
    clips = clips_in(DataSource(manifest=str(tmp_path / "chat.csv"), columns=columns))
    assert meaning_of(clips, heard_in(clips)) == CASES["messages"][2]
