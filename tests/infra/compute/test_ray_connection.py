"""The folder of a Ray of our own."""

import tempfile

import pytest

from infra.compute.ray_connection import short_temporary_folder


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/scratch/4711", "/scratch/4711"),
        ("/scratch/job-12345678/tmp", "/tmp"),
        ("/scratch/größe/大小", "/scratch/größe/大小"),  # 23 bytes
        ("/scratch/größe/大小/1", "/tmp"),
    ],
)
def test_it_lies_where_the_paths_of_sockets_fit(
    monkeypatch: pytest.MonkeyPatch, folder: str, expected: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", folder)
    assert short_temporary_folder() == expected
