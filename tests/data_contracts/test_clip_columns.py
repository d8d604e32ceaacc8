"""Columns of clips lie in a file of which nothing is left, also after a kill."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.clip_columns import manifest_columns
from data_contracts.records import Clip


def test_the_file_of_the_columns_has_no_name_while_it_is_written_and_is_read_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[list[Path]] = []

    def clips() -> Iterator[Clip]:
        for number in range(2):
            seen.append(list(tmp_path.iterdir()))
            yield Clip(id=f"c{number}", audio="a.wav", targets={"asr": "hallo"}, language="de")

    table = manifest_columns(clips())

    assert seen == [[], []]
    assert table["language"].to_pylist() == ["de", "de"]
