"""One text names a file, a folder, a data set or a corpus."""

from pathlib import Path

import pytest

from tasks.sources.manifest import DataSource
from tasks.sources.named_source import data_source
from tasks.sources.source_error import DataSourceError
from tests.support.source_rows import fill_folder

MADE = Path(__file__).parent / "corpora/made"


@pytest.mark.parametrize("name", ["m.jsonl", "m.json", "m.csv", "m.tsv", "m.parquet", "a=b.jsonl"])
def test_a_file_is_a_manifest(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")
    assert data_source(f"{tmp_path}/{name}") == {"manifest": f"{tmp_path}/{name}"}


def test_a_url_is_a_manifest_and_is_not_opened() -> None:
    assert data_source("s3://bucket/m.jsonl") == {"manifest": "s3://bucket/m.jsonl"}


def test_a_folder_of_recordings_is_a_folder(tmp_path: Path) -> None:
    fill_folder(tmp_path)
    assert data_source(str(tmp_path)) == {"folder": str(tmp_path)}


@pytest.mark.parametrize("name", ["metadata.csv", "dataset_info.json", "manifest.jsonl"])
def test_a_folder_with_a_description_of_its_recordings_is_read_by_it(
    name: str, tmp_path: Path
) -> None:
    fill_folder(tmp_path)
    (tmp_path / name).write_text("")
    assert data_source(str(tmp_path)) == {"manifest": f"{tmp_path}/{name}"}


@pytest.mark.parametrize("name", ["dataset", "dataset_dict"])
def test_a_saved_data_set_is_a_manifest(name: str) -> None:
    assert data_source(str(MADE / name)) == {"manifest": str(MADE / name)}


@pytest.mark.parametrize(
    ("text", "corpus"),
    [
        ("esc50=/data/ESC-50", {"name": "esc50", "root": "/data/ESC-50", "splits": []}),
        (
            "fleurs:fr_fr/test,de_de/test=/data/fleurs",
            {"name": "fleurs", "root": "/data/fleurs", "splits": ["fr_fr/test", "de_de/test"]},
        ),
        (
            "librispeech:dev-clean=s3://bucket/a=b",
            {"name": "librispeech", "root": "s3://bucket/a=b", "splits": ["dev-clean"]},
        ),
    ],
)
def test_a_name_with_a_root_is_a_corpus(text: str, corpus: dict[str, object]) -> None:
    assert data_source(text) == {"corpora": [corpus]}
    assert DataSource.model_validate(data_source(text)).corpora[0].name == corpus["name"]


def test_what_is_not_there_or_holds_nothing_is_refused_with_what_could_be_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes.txt").write_text("no recording")
    with pytest.raises(DataSourceError, match="there is no file or folder 'none"):
        data_source("none.jsonl")
    with pytest.raises(DataSourceError, match="has neither recordings"):
        data_source(str(tmp_path))
