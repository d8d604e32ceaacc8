"""A store whose disk is not mounted is missed, and nothing is written in its place."""

from pathlib import Path

import pytest

from data_contracts.errors import UsageError
from infra.settings import Settings
from infra.storage.known_stores import MissingStoreError, open_store


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A mount point; `unmount` leaves it empty."""
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


def settings(tmp_path: Path, store: Path | str) -> Settings:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return Settings(home=home, store=str(store))


def unmount(disk: Path) -> Path:
    """What is left where a disk was, and where its files went."""
    elsewhere = disk.rename(disk.with_name("elsewhere"))
    disk.mkdir()
    return elsewhere


@pytest.mark.parametrize("below", ["", "team/q2a"])
def test_a_store_that_had_artifacts_and_is_empty_is_refused_until_it_is_back(
    below: str, tmp_path: Path, disk: Path
) -> None:
    configured = settings(tmp_path, disk / below)
    (disk / below).parent.mkdir(parents=True, exist_ok=True)
    open_store(configured).write_bytes("ingest/abc/record.json", b"{}")
    open_store(configured)  # as each command does
    elsewhere = unmount(disk)
    with pytest.raises(MissingStoreError, match=r"had artifacts and is empty or gone.*mounted\?"):
        open_store(configured)
    assert [*disk.iterdir()] == []
    disk.rmdir()
    elsewhere.rename(disk)
    assert open_store(configured).list_keys() == ["ingest/abc/record.json"]


def test_the_remedy_for_a_store_that_was_emptied_on_purpose_works(
    tmp_path: Path, disk: Path
) -> None:
    configured = settings(tmp_path, disk)
    open_store(configured).write_bytes("ingest/abc/record.json", b"{}")
    open_store(configured)
    unmount(disk)
    with pytest.raises(MissingStoreError) as caught:
        open_store(configured)
    assert isinstance(caught.value, UsageError)
    Path(str(caught.value).partition("delete ")[2].partition(" to begin")[0]).unlink()
    assert open_store(configured).list_keys() == []


def test_a_new_store_is_made_in_a_folder_that_exists_alone(tmp_path: Path, disk: Path) -> None:
    assert open_store(settings(tmp_path, disk / "new")).list_keys() == []
    with pytest.raises(MissingStoreError, match=r"no folder .*/lost in which the store 'new'"):
        open_store(settings(tmp_path, disk / "lost/new"))


def test_a_store_in_its_home_and_one_on_a_server_are_opened_as_they_are(tmp_path: Path) -> None:
    configured = settings(tmp_path, "")
    open_store(configured).write_bytes("a/b", b"x")
    open_store(configured).delete("a")
    assert open_store(configured).list_keys() == []
    open_store(settings(tmp_path, "memory://anywhere/at/all"))
    assert [path.name for path in configured.home.iterdir()] == ["store"]
