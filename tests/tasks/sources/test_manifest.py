"""Manifests, with every way in which they can be wrong, and the tasks that a source declares."""

import json
import re
import tracemalloc
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_contracts.records import Rejected
from tasks.conversations.task_table import shipped_tasks
from tasks.sources import manifest
from tasks.sources.manifest import (
    DataSource,
    DataSourceError,
    iter_source,
    source_digest,
    source_tasks,
)
from tests.support.recordings import row, sound_file, tone, write_manifest
from tests.support.source_rows import read_source


def test_the_short_form_is_one_target(tmp_path: Path) -> None:
    short = {"id": "a", "audio": "a.wav", "task": "asr", "text": "Good morning.", "language": "en"}
    (clip,), _ = read_source(write_manifest(tmp_path, [short]))
    assert clip.targets == {"asr": "Good morning."}
    assert clip.language == "en"


GOOD = json.dumps(row("good"))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{"id": "a", ', "line 1 column"),
        ("[1, 2]", "should be an object"),
        ("[" * 100_000, "recursion"),
        ('{"id": "a", "seconds": 1' + "0" * 5_000 + "}", "out of range"),
        (json.dumps(row("a", colour="red")), "colour: Extra inputs are not permitted (got 'red')"),
        (json.dumps(row("a", split="training")), "'train', 'dev' or 'test' (got 'training')"),
        (json.dumps(row("a", targets={"asr": 5})), "targets.asr: Input should be a valid string"),
        (json.dumps(row("a", targets={"Song!": "la"})), "targets.Song!"),
        (json.dumps(row("a", targets={"asr": "x" * 10_001})), "at most 10000 characters"),
        (json.dumps(row("two\nlines")), "id: String should match pattern"),
        (json.dumps(row("a", audio="a\0.wav")), "audio: String should match pattern"),
        (json.dumps(row("")), "id: String should have at least 1 character"),
        ('{"id": "\\ud800", "audio": "a.wav", "targets": {}}', "hex escape"),
        (json.dumps(row("a", phrase="half a pair \ud800")), "hex escape"),
        ('{"id": "a", "audio": "a.wav", "targets": {}, "seconds": NaN}', "finite"),
        (
            '{"id": "a", "audio": "a.wav", "task": ["asr"], "text": "b"}',
            "give task and text, targets, or a conversation",
        ),
        (
            '{"id": "a", "audio": "a.wav", "text": "b"}',
            "give task and text, targets, or a conversation",
        ),
    ],
)
def test_a_line_that_is_no_row_is_rejected_by_number_and_rule(
    line: str, rule: str, tmp_path: Path
) -> None:
    clips, rejects = read_source(write_manifest(tmp_path, [GOOD, "", line, GOOD]))
    assert [clip.id for clip in clips] == ["good", "good"]
    (rejected,) = rejects
    assert (rejected.id, rejected.reason) == ("line 3", "invalid_row")
    assert rule in rejected.detail
    assert len(rejected.detail) < 1_000


def test_line_ends_and_byte_order_marks_of_windows_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n{GOOD}\r\n".encode())
    clips, _ = read_source(DataSource(manifest=str(path)))
    assert len(clips) == 2


@pytest.mark.parametrize(
    ("audio", "resolved"),
    [
        ("clips/a.wav", "{folder}/clips/a.wav"),
        ("at 10:30.wav", "{folder}/at 10:30.wav"),
        ("/somewhere/a.wav", "/somewhere/a.wav"),
        ("s3://bucket/a.wav", "s3://bucket/a.wav"),
    ],
)
def test_relative_audio_starts_from_the_manifest(audio: str, resolved: str, tmp_path: Path) -> None:
    (clip,), _ = read_source(write_manifest(tmp_path, [row("a", audio=audio)]))
    assert clip.audio == resolved.format(folder=tmp_path)


@pytest.mark.parametrize("fields", [{}, {"manifest": "m.jsonl", "folder": "f"}])
def test_both_or_neither_of_manifest_and_folder_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="give exactly one"):
        DataSource(**fields)


@pytest.mark.parametrize("name", ["manifest", "folder"])
def test_an_empty_path_is_refused_and_does_not_mean_the_working_directory(name: str) -> None:
    with pytest.raises(ValidationError, match="at least 1 character"):
        DataSource.model_validate({name: ""})


def test_a_source_that_can_not_be_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(sound_file(tone(0.1)) + b"\xff\xfe")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "no sound").mkdir()
    for fields, message in (
        ({"manifest": f"{tmp_path}/none.jsonl"}, "no manifest .*none.jsonl.* --set data.manifest"),
        ({"manifest": str(tmp_path)}, "no manifest"),
        ({"manifest": f"{tmp_path}/binary.jsonl"}, "binary.jsonl.* not UTF-8 .* JSONL"),
        ({"manifest": f"{tmp_path}/empty.jsonl"}, "empty.jsonl holds no recordings.* JSON object"),
        ({"manifest": "memory://nothing/here.jsonl"}, "no manifest 'memory://nothing/here.jsonl'"),
        ({"folder": f"{tmp_path}/none"}, "no folder .*none.* data.folder"),
        ({"folder": f"{tmp_path}/no sound"}, "holds no recordings.*wav"),
    ):
        with pytest.raises(DataSourceError, match=message):
            list(iter_source(DataSource(**fields)))


@pytest.mark.parametrize("place", ["carrierpigeon://a/b.jsonl", "pipe:cat rows", "cat rows |"])
@pytest.mark.parametrize("name", ["manifest", "folder"])
def test_a_source_is_no_command_and_of_no_unknown_protocol(name: str, place: str) -> None:
    with pytest.raises(ValidationError, match=r"command pipe|carrierpigeon|'pipe'"):
        DataSource.model_validate({name: place})


COMMANDS = [
    "pipe:cat /etc/passwd", "sh:touch owned", "sox a.wav -t wav - |", "| tee owned",
    "simplecache::a.wav", "ssh://host/a.wav", "github://a:b@main/c.wav", "data:audio/wav;base64,AA",
    "tar://a.wav::x.tar", "ftp://host/x.wav",
    "foo.ark:1234", "reference::file:///etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("audio", COMMANDS)
def test_a_row_that_would_run_a_command_or_open_another_protocol_is_refused_by_id(
    audio: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_manifest(tmp_path, [GOOD, row("bad", audio=audio), GOOD])
    clips, rejects = read_source(source)
    source_digest(source)
    assert [clip.id for clip in clips] == ["good", "good"]
    (rejected,) = rejects
    assert (rejected.id, rejected.reason) == ("bad", "refused_url")
    assert audio in rejected.detail
    assert re.search(r"Copy the file|name the file", rejected.detail)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_a_row_of_100_megabytes_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"id": "big", "audio": "a.wav", "task": "asr", "text": "')
        for _ in range(100):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n' + GOOD.encode() + b"\n")
    tracemalloc.start()
    rejected, clip = iter_source(DataSource(manifest=str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(rejected, Rejected)
    assert (rejected.id, rejected.reason) == ("line 1", "invalid_row")
    assert "longer than 1048576 bytes" in rejected.detail
    assert clip.id == "good"
    assert peak < 10_000_000


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with path.open("w") as stream:
        for number in range(20_000):
            stream.write(json.dumps(row(f"clip {number}")) + "\n")
    tracemalloc.start()
    count = sum(1 for _ in iter_source(DataSource(manifest=str(path))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 5_000_000 < 8 * path.stat().st_size


def test_a_bucket_that_tells_nobody_what_is_absent_declares_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S3 answers 403 for a key that is absent where the reader may not list."""

    def forbidden(url: str) -> object:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(manifest, "open_url", forbidden)
    source = DataSource(manifest="s3://bucket/manifest.jsonl")

    assert source_tasks(source) == shipped_tasks()


def test_a_local_file_of_tasks_that_nobody_may_read_ends_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(url: str) -> object:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(manifest, "open_url", forbidden)

    with pytest.raises(DataSourceError, match=r"/data/tasks\.yaml' can't be read: Permission"):
        source_tasks(DataSource(manifest="/data/manifest.jsonl"))
