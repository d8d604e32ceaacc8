"""Which files and URLs are read as recordings, and which never."""

import os
from pathlib import Path

import pytest

from tasks.recordings.decode import DecodeError
from tasks.recordings.read import MAX_FILE_BYTES, read_audio
from tests.support.refusals import reason_of


@pytest.mark.parametrize(
    "url",
    [
        "pipe://0",
        "ssh://host/a.wav",
        "github://a:b@main/c",
        "simplecache::/a.wav",
        "/a::b.wav",
        "file:///a::ssh://b",
        "pipe:0",
        "cat a.wav |",
    ],
)
def test_urls_that_are_no_plain_file_store_are_refused(url: str) -> None:
    assert reason_of(lambda: read_audio(url)) == "refused_url"


def test_a_colon_in_a_name_starts_nothing() -> None:
    assert reason_of(lambda: read_audio("./pipe:0")) == "missing_file"


def test_files_are_read_by_path_and_by_url(tmp_path: Path) -> None:
    path = tmp_path / "at 10:30.wav"
    path.write_bytes(b"bytes")
    assert read_audio(str(path)) == read_audio(f"file://{path}") == b"bytes"


@pytest.mark.parametrize("where", ["none.wav", ".", "file/below.wav", "a" * 300 + ".wav"])
def test_what_is_not_a_readable_file_is_missing(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert reason_of(lambda: read_audio(f"{tmp_path}/{where}")) == "missing_file"


def test_a_device_a_pipe_and_a_link_to_one_are_never_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to("/dev/zero")
    for path in ("/dev/zero", f"{tmp_path}/pipe.wav", f"{tmp_path}/link.wav"):
        with pytest.raises(DecodeError, match="device or a pipe") as caught:
            read_audio(path)
        assert caught.value.reason == "missing_file"


def test_a_file_of_more_than_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)  # a hole: it takes no room on the disk
    with pytest.raises(DecodeError, match=r"huge.wav has 1073741825 bytes.*Split") as caught:
        read_audio(str(path))
    assert caught.value.reason == "too_large"
