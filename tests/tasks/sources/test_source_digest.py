"""The digest of a source changes with its rows and recordings, and with nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.manifest import DataSource, source_digest
from tests.support.recordings import row, sound_file, tone, write_manifest, write_tones
from tests.support.source_rows import fill_folder


def make_source(folder: Path) -> DataSource:
    write_tones(folder, ["a", "b"])
    return write_manifest(folder, [row("a"), row("b"), "not JSON"])


def test_the_digest_does_not_depend_on_where_files_lie(tmp_path: Path) -> None:
    digest = source_digest(make_source(tmp_path / "here"))
    shutil.copytree(tmp_path / "here", tmp_path / "there" / "below")
    moved = DataSource(manifest=str(tmp_path / "there" / "below" / "manifest.jsonl"))
    assert source_digest(moved) == digest


def test_the_digest_of_a_folder_does_not_depend_on_where_it_lies(tmp_path: Path) -> None:
    fill_folder(tmp_path / "here")
    (tmp_path / "here" / "zz.txt").unlink()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    first, second = (source_digest(DataSource(folder=f"{tmp_path}/{n}")) for n in ("here", "there"))
    assert first == second


def edit_rows(folder: Path, edit: Callable[[list[str]], object]) -> None:
    path = folder / "manifest.jsonl"
    lines = path.read_text().splitlines()
    edit(lines)
    path.write_text("".join(f"{line}\n" for line in lines))


CHANGES: dict[str, Callable[[Path], object]] = {
    "audio bytes": lambda folder: (folder / "a.wav").write_bytes(sound_file(tone(0.5, 301))),
    "no audio": lambda folder: (folder / "a.wav").unlink(),
    "rejected line": lambda folder: edit_rows(folder, lambda lines: lines.pop()),
    "order": lambda folder: edit_rows(folder, lambda lines: lines.reverse()),
    "new row": lambda folder: edit_rows(folder, lambda lines: lines.append(json.dumps(row("a")))),
    "text": lambda folder: edit_rows(
        folder, lambda lines: lines.insert(0, lines.pop(0).replace('"asr": "a"', '"asr": "b"'))
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_changes_with_audio_and_rows(change: str, tmp_path: Path) -> None:
    source = make_source(tmp_path)
    before = source_digest(source)
    assert source_digest(source) == before
    CHANGES[change](tmp_path)
    assert source_digest(source) != before


def test_a_row_with_a_sha256_is_taken_at_its_word_and_not_read(tmp_path: Path) -> None:
    rows = [row("a", sha256="0" * 64)]
    with_file, without_file = tmp_path / "with", tmp_path / "without"
    write_tones(with_file, ["a"])
    digests = {source_digest(write_manifest(folder, rows)) for folder in (with_file, without_file)}
    assert len(digests) == 1


def test_the_digest_opens_no_url_that_decoding_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    source = write_manifest(tmp_path, [row("a", audio=f"simplecache::file://{path}")])
    digests = set()
    for content in (b"one", b"another"):
        path.write_bytes(content)
        digests.add(source_digest(source))
    assert len(digests) == 1
