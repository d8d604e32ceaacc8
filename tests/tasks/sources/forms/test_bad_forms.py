"""A bad row of any form is rejected with its line, value, rule and remedy; the others are read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.records import Clip, Rejected
from model.tokenizer import CONTROL_TOKENS
from tasks.sources.manifest import DataSource, DataSourceError, iter_source
from tests.support.foreign_rows import CASES, write_recordings, write_rows
from tests.support.source_rows import read_source

GOOD = CASES["messages"][1]
ASKED = {"role": "user", "content": "<audio>Which bird?"}
WREN = {"role": "assistant", "content": "A wren."}


def swift(*messages: Any, audios: Any = ("a.wav",), **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages), "audios": audios, **fields}


def share(**fields: Any) -> dict[str, Any]:
    return {**CASES["ShareGPT"][1], **fields}


def nemo(**fields: Any) -> dict[str, Any]:
    return {"audio_filepath": "a.wav", "text": "hello", **fields}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "more tags than audios": (
        swift({"role": "user", "content": "<audio><audio>Which?"}, WREN),
        "the texts have 2 <audio>, the row has 1 audios",
    ),
    "a tool": (swift({"role": "tool", "content": "1"}, WREN), "'tool' is none of system"),
    "no answer": (swift(ASKED), "the roles are 'user'; wanted is"),
    "two questions": (swift(ASKED, {"role": "user", "content": "x"}, WREN), "user user assistant"),
    "an empty answer": (swift(ASKED, {"role": "assistant", "content": " "}), "answer .* is empty"),
    "no audio": (
        swift({"role": "user", "content": "Hi"}, WREN, audios=[]), "no recording is named"
    ),
    "audio in an answer": (
        swift({"role": "user", "content": "x"}, {"role": "assistant", "content": "<audio>"}),
        "a message of the assistant has audio",
    ),
    "audio that is a number": (swift(ASKED, WREN, audios=[5]), "audios: 5 is no path"),
    "images": (swift(ASKED, WREN, images=["i.png"]), r"images: \['i.png'\] can't be used"),
    "KTO": (swift(ASKED, WREN, label=True), "label: True marks a row of KTO"),
    "no loss": (swift(ASKED, {**WREN, "loss": False}), "messages.1.loss: every answer is learned"),
    "the same answer twice": (
        swift(ASKED, WREN, rejected_response="A wren."), "is empty or the preferred answer itself"
    ),
    "a rejected conversation about something else": (
        swift(ASKED, WREN, rejected_messages=[{"role": "user", "content": "Why?"}, WREN]),
        "only the last answer may differ",
    ),
    "other audio for the rejected answer": (
        swift(ASKED, WREN, rejected_response="x", rejected_audios=["b.wav"]),
        "Both answers of a pair are to the same audio",
    ),
    "an unknown language": (swift(ASKED, WREN, language="Klingon"), "'Klingon' is no code"),
    "an unknown split": (swift(ASKED, WREN, split="holdout"), "'holdout' is none of train"),
    "audio both in parts and beside": (
        swift({"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}, WREN),
        "name each only once",
    ),
    "an unknown part": (
        swift({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, WREN),
        "'image_url' is none of text, audio",
    ),
    "base64 that is empty": (
        swift(
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]},
            WREN,
        ),
        "it has no data in base64",
    ),
    "ShareGPT with too few tags": (
        share(audios=["a.wav", "b.wav"]), "the texts have 1 <audio>, audios has 2 recordings"
    ),
    "ShareGPT with a function": (
        share(conversations=[{"from": "function_call", "value": "{}"}]), "'function_call' is none"
    ),
    "ShareGPT without an answer that is preferred": (
        share(chosen={"from": "human", "value": "x"}, rejected={"from": "gpt", "value": "y"}),
        "must both be of 'gpt'",
    ),
    "history that is no pair": (
        {"query": "<audio>q", "response": "r", "history": [["q"]], "audios": ["a.wav"]},
        r"history: \['q'\] is no pair",
    ),
    "NeMo without text": ({"audio_filepath": "a.wav", "duration": 1.0}, "the row has no text"),
    "NeMo with a duration in words": (nemo(duration="long"), "duration: 'long' is no number"),
    "NeMo with another task": (nemo(taskname="diarize"), "taskname: 'diarize' is none of asr"),
    "NeMo's translation into nothing": (nemo(taskname="ast"), "a translation needs target_lang"),
    "a part of a NeMo recording": (
        {"conversations": [{"from": "User", "type": "audio", "value": "a.wav", "offset": 2}]},
        "parts of a recording are not cut here",
    ),
    "a pair without a chosen answer": (
        {"prompt": "p", "chosen": "", "rejected": "r", "audios": ["a.wav"]}, "is empty"
    ),
    "a pair that differs before the answers": (
        {"chosen": [ASKED, WREN], "rejected": [WREN], "audios": ["a.wav"]},
        "differ before their last answer; give a prompt",
    ),
    **{
        f"the control token {token}": (
            swift({"role": "user", "content": f"<audio>{token}"}, WREN), "has the control token"
        )
        for token in CONTROL_TOKENS
    },
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_rejected_alone_by_line_value_and_rule(case: str, tmp_path: Path) -> None:
    row, rule = BAD[case]
    source = write_rows(tmp_path, [GOOD, row, GOOD])
    clips, (rejected,) = read_source(source)
    assert [clip.id for clip in clips] == ["row-000001", "row-000003"]
    assert (rejected.id, rejected.reason) == ("line 2", "invalid_row")
    with pytest.raises(AssertionError, match=rule):
        raise AssertionError(rejected.detail)
    assert len(rejected.detail) < 1_000


@pytest.mark.parametrize("audio", ["pipe:cat /etc/passwd", "ssh://host/a.wav", "| tee owned"])
def test_a_conversation_with_a_refused_location_is_rejected_as_a_whole(
    audio: str, tmp_path: Path
) -> None:
    row = swift({"role": "user", "content": "<audio><audio>x"}, WREN, audios=["a.wav", audio])
    clips, (rejected,) = read_source(write_rows(tmp_path, [row, GOOD]))
    assert [clip.id for clip in clips] == ["row-000002"]
    assert (rejected.id, rejected.reason) == ("row-000001/2", "refused_url")


def test_base64_that_json_spells_in_another_way_is_rejected_with_a_remedy(tmp_path: Path) -> None:
    source = write_rows(tmp_path, [CASES["OpenAI's input_audio"][1], GOOD])
    path = Path(source.manifest or "")
    path.write_text(path.read_text().replace("UklGR", "\\u0055klGR"))
    _, (rejected,) = read_source(source)
    assert "write it without escapes" in rejected.detail


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"b"', "element 2 can't be read"),
        ('[{"a": 1} {"b": 2}]', "element 1 can't be read"),
        ("[", "element 1 can't be read"),
        ("[" * 100_000, "element 1 can't be read"),
        ("[]", "holds no recordings"),
    ],
)
def test_a_list_that_is_cut_is_refused_with_the_element(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(DataSourceError, match=message):
        list(iter_source(DataSource(manifest=f"{tmp_path}/rows.json")))


@pytest.mark.parametrize(
    ("info", "message"),
    [("{", "is no JSON"), ('{"x": {"file_name": "rows.jsonl", "ranking": "maybe"}}', "ranking")],
)
def test_a_dataset_info_that_can_not_be_read_is_refused(
    info: str, message: str, tmp_path: Path
) -> None:
    source = write_rows(tmp_path, [GOOD])
    (tmp_path / "dataset_info.json").write_text(info)
    with pytest.raises(DataSourceError, match=message):
        list(iter_source(source))


def test_a_set_of_a_dataset_info_that_names_no_file_is_refused(tmp_path: Path) -> None:
    info = {"x": {"file_name": "simplecache::file:///etc/passwd"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    _, (rejected,) = read_source(DataSource(manifest=f"{tmp_path}/dataset_info.json"))
    assert (rejected.id, rejected.reason) == ("x", "refused_url")


def test_a_mapped_column_that_a_table_lacks_is_refused_with_those_that_it_has(
    tmp_path: Path,
) -> None:
    write_recordings(tmp_path)
    (tmp_path / "t.csv").write_text("file,words\na.wav,hello\n")
    source = DataSource(manifest=f"{tmp_path}/t.csv", columns={"text": "sentences"})
    with pytest.raises(DataSourceError, match=r"columns file, words; .* sentences\. Name columns"):
        list(iter_source(source))


def test_a_table_without_a_known_column_says_how_to_map_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("wav,words\na.wav,hello\n")
    _, (rejected,) = read_source(DataSource(manifest=f"{tmp_path}/t.csv"))
    assert "Map them with data.columns" in rejected.detail


def test_columns_of_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names columns of a manifest"):
        DataSource(folder=str(tmp_path), columns={"text": "words"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "audio",
                    "from",
                    "value",
                    "messages",
                    "input_audio",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
KEYS = sorted({key for _, row, _ in CASES.values() for key in row} | {"audio_filepath", "text"})


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5))
def test_no_row_whatever_its_values_ends_the_reading(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any rows"
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(GOOD) + "\n")
    *first, last = iter_source(DataSource(manifest=f"{folder}/rows.jsonl"))
    assert first
    assert isinstance(last, Clip)
    assert all(isinstance(each, Clip | Rejected) for each in first)
