"""Names of checkpoints lead to folders and URLs, or to an error that says what there is."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from infra.checkpoint_location import CheckpointLocationError, checkpoint_location
from infra.storage.store import Store

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def no_registry(name: str) -> str:
    raise AssertionError(f"{name} was asked of the registry")


def find(name: str) -> str:
    return checkpoint_location(name, no_registry)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as the hub's client lays it out: snapshots are links into blobs."""
    repository = tmp_path / "hub" / "models--Qwen--Qwen2-Audio"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs" / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_folder_is_itself_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find("org/name") == str(tmp_path / "org" / "name")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/org") == str(tmp_path / "org")


def test_a_url_is_left_to_the_store() -> None:
    assert find("s3://bucket/a/checkpoint") == "s3://bucket/a/checkpoint"


def test_a_registered_version_is_asked_of_the_registry() -> None:
    versions = {"models:/qwen2-audio-demo@dpo": "/store/dpo/f/checkpoint"}
    name = "models:/qwen2-audio-demo@dpo"
    assert checkpoint_location(name, versions.__getitem__) == "/store/dpo/f/checkpoint"


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_hub_id_is_a_snapshot_in_the_cache_whose_files_the_store_reads(
    cache: Path, revision: str
) -> None:
    location = find(f"Qwen/Qwen2-Audio{revision}")
    assert location == str(cache)
    store = Store(location)
    assert store.list_keys() == ["config.json"]
    assert store.read_text("config.json") == "{}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Qwen/Nothing", r"no folder 'Qwen/Nothing', and the cache .*hub has no whole snapshot of "
         r"Qwen/Nothing \(.*`hf download Qwen/Nothing`"),
        ("Qwen/Qwen2-Audio@v9", r"Qwen2-Audio at revision v9 .*hf download Qwen/Qwen2-Audio "
         "--revision v9"),
        ("checkpoints", "there is no folder 'checkpoints'. Name a checkpoint by its folder, a URL"),
        ("../a/b", r"there is no folder '\.\./a/b'"),
        ("/no/where", "there is no folder '/no/where'"),
        ("./org/name", "there is no folder"),
    ],
)  # fmt: skip
def test_a_name_that_leads_nowhere_is_refused_with_a_remedy(
    cache: Path, name: str, message: str
) -> None:
    with pytest.raises(CheckpointLocationError, match=message):
        find(name)


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointLocationError, match=r"is a file; .* Give its folder"):
        find(str(tmp_path / "model.safetensors"))
