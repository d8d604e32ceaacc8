"""Folders of recordings with transcripts, with every way in which they can be wrong."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.sources.manifest import DataSource
from tests.support.recordings import sound_file, tone
from tests.support.source_rows import fill_folder, read_source


def test_a_folder_gives_transcripts_and_languages(tmp_path: Path) -> None:
    fill_folder(tmp_path)
    (tmp_path / "en" / "directory.wav").mkdir()
    clips, rejects = read_source(DataSource(folder=str(tmp_path)))
    found = {clip.id: (clip.targets["asr"], clip.language) for clip in clips}
    assert found == {
        "en/hello": ("hello", "en"),
        "fr/bonjour": ("bonjour", "fr"),
        "de/nested/tag": ("tag", "de"),
        "zz": ("zz", None),  # a file's own name is no language
        "07/numbered": ("numbered", None),
    }
    assert all(Path(clip.audio).is_file() for clip in clips)
    assert rejects == []


def test_recordings_below_no_language_have_the_language_of_the_source(tmp_path: Path) -> None:
    fill_folder(tmp_path)
    clips, _ = read_source(DataSource(folder=str(tmp_path), language="el"))
    languages = {clip.id: clip.language for clip in clips}
    assert languages == {
        "en/hello": "en",
        "fr/bonjour": "fr",
        "de/nested/tag": "de",
        "zz": "el",
        "07/numbered": "el",
    }


def test_a_language_that_is_no_code_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"two-letter code.*languages\.py"):
        DataSource(folder="recordings", language="English")


def test_a_folder_is_walked_in_the_order_of_its_paths_and_never_in_circles(tmp_path: Path) -> None:
    for name in ("b/x", "a", "a/deep/y", "a.b", "b", "a-/z"):
        place = tmp_path / f"{name}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
        place.with_suffix(".txt").write_text("text")
    (tmp_path / "b" / "circle").symlink_to(tmp_path)
    found = [clip.audio for clip in read_source(DataSource(folder=str(tmp_path)))[0]]
    assert found == [str(path) for path in sorted(tmp_path.rglob("*.wav"))]
    assert len(found) == 6


def test_a_transcript_of_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    fill_folder(tmp_path)
    os.truncate(tmp_path / "zz.txt", 1 << 30)  # a hole: it takes no place on the disk
    _, (rejected,) = read_source(DataSource(folder=str(tmp_path)))
    assert (rejected.id, rejected.reason) == ("zz", "invalid_row")
    assert "over 65536 bytes" in rejected.detail


def test_recordings_of_a_folder_without_a_usable_transcript_or_name_are_rejected(
    tmp_path: Path,
) -> None:
    fill_folder(tmp_path)
    (tmp_path / "zz.txt").unlink()
    (tmp_path / "en/hello.txt").write_bytes("café".encode("latin-1"))
    for name in ("two\nlines", os.fsdecode(b"caf\xe9")):
        (tmp_path / f"{name}.wav").write_bytes(sound_file(tone(0.2)))
        (tmp_path / f"{name}.txt").write_text("text")
    clips, rejects = read_source(DataSource(folder=str(tmp_path)))
    found = {rejected.id: rejected.detail for rejected in rejects}
    assert sorted(found) == ["caf\\udce9", "en/hello", "two\nlines", "zz"]
    assert "no transcript zz.txt" in found["zz"]
    assert "hello.txt is not UTF-8" in found["en/hello"]
    assert "pattern" in found["two\nlines"]
    assert len(clips) + len(rejects) == 7
