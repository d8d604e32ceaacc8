"""The store: files appear whole or not at all, on a local folder and on an object store."""

import hashlib
import os
import pickle
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from infra.storage import remote_file
from infra.storage.store import MissingFileError, Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A local folder, and fsspec's memory file system in the role of an object store."""
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"memory://{uuid.uuid4().hex}/store")


def test_what_is_written_is_read_back(store: Store) -> None:
    store.write_bytes("a/b.bin", b"\x00\xff")
    store.write_text("a/c.txt", "größe ✓")
    assert store.read_bytes("a/b.bin") == b"\x00\xff"
    assert store.read_text("a/c.txt") == "größe ✓"
    assert store.size("a/b.bin") == 2
    assert store.list_keys() == ["a/b.bin", "a/c.txt"]
    assert store.digest("a/b.bin") == hashlib.sha256(b"\x00\xff").hexdigest()


def test_writing_replaces_the_whole_file(store: Store) -> None:
    store.write_bytes("key", b"a long first version")
    store.write_bytes("key", b"short")
    assert store.read_bytes("key") == b"short"


def break_half_way(store: Store, key: str) -> None:
    with store.create(key) as stream:
        stream.write(b"half")
        raise RuntimeError("half way")


def test_a_body_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        break_half_way(store, "a/b.bin")
    assert not store.exists("a/b.bin")
    assert store.list_keys() == []


def test_a_body_that_raises_keeps_the_earlier_file(store: Store) -> None:
    store.write_bytes("key", b"whole")
    with pytest.raises(RuntimeError, match="half way"):
        break_half_way(store, "key")
    assert store.read_bytes("key") == b"whole"


def test_a_file_is_invisible_until_its_block_ends(store: Store) -> None:
    with store.create("a/b.bin") as stream:
        stream.write(b"x")
        stream.flush()
        assert not store.exists("a/b.bin")
        assert store.list_keys() == []
    assert store.list_keys() == ["a/b.bin"]


def test_a_killed_writer_leaves_no_file_and_its_remains_can_be_cleared(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from infra.storage.store import Store\n"
        "with Store(sys.argv[1]).create('a/b.bin') as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -9
    store = Store(str(tmp_path))
    remains = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(remains) == 1, "the test killed the writer too early or too late"
    assert store.list_keys() == []
    assert not store.exists("a/b.bin")
    store.delete_partial_files()
    assert not remains[0].exists()


def test_the_file_of_a_living_writer_is_not_cleared(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.create("a/b.bin") as stream:
        stream.write(b"whole")
        store.delete_partial_files()
    assert store.read_bytes("a/b.bin") == b"whole"


def test_a_killed_upload_leaves_nothing_in_the_folder_for_temporary_files(tmp_path: Path) -> None:
    script = (
        "import os, signal; from infra.storage.store import Store\n"
        "with Store('memory://bucket').create('a/b.bin') as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], check=False, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert ended.returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named_with_a_remedy(store: Store) -> None:
    with pytest.raises(MissingFileError, match=r"no/such is not in the store.*q2a plan"):
        store.read_bytes("no/such")


def test_a_folder_is_not_a_file(store: Store) -> None:
    store.write_bytes("a/b", b"x")
    assert not store.exists("a")
    assert store.exists("a/b")


def test_below_is_a_store_of_the_folder(store: Store) -> None:
    below = store.below("stage", "fingerprint")
    below.write_bytes("x", b"1")
    assert store.read_bytes("stage/fingerprint/x") == b"1"
    assert below.list_keys() == ["x"]
    assert below.url == f"{store.url}/stage/fingerprint"


def test_list_keys_of_a_prefix_stays_inside_the_folder(store: Store) -> None:
    for key in ("sft/x", "sft/deep/y", "sft2/z"):
        store.write_bytes(key, b"")
    assert store.list_keys("sft") == ["sft/deep/y", "sft/x"]
    assert store.list_keys("dpo") == []


def test_a_part_of_a_file_is_read_from_its_first_byte_on(store: Store) -> None:
    store.write_bytes("x", b"0123456789")
    assert store.read_range("x", 2, 3) == b"234"
    with store.open("x", 4) as stream:
        assert stream.tell() == 4
        assert stream.read(2) == b"45"


def test_delete_takes_files_and_folders_and_forgives_absence(store: Store) -> None:
    store.write_bytes("a/b", b"")
    store.write_bytes("a/c", b"")
    store.delete("a/b")
    assert store.list_keys() == ["a/c"]
    store.delete("a")
    store.delete("a")
    assert store.list_keys() == []


def test_a_store_pickles_with_its_options(tmp_path: Path) -> None:
    store = Store(str(tmp_path), {"auto_mkdir": True})
    store.write_bytes("x", b"1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read_bytes("x") == b"1"
    assert (copy.url, copy.storage_options) == (store.url, {"auto_mkdir": True})


def test_a_relative_url_means_the_same_place_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("somewhere")
    store.write_bytes("x", b"1")
    monkeypatch.chdir("/")
    assert store.url == str(tmp_path / "somewhere")
    assert pickle.loads(pickle.dumps(store)).read_bytes("x") == b"1"


def test_upload_copies_a_whole_tree(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a").write_bytes(b"1")
    (source / "deep" / "b").write_bytes(b"2")
    store.upload(source, "checkpoint")
    assert store.list_keys() == ["checkpoint/a", "checkpoint/deep/b"]
    assert store.read_bytes("checkpoint/deep/b") == b"2"


def test_local_folder_shows_the_same_files(store: Store, tmp_path: Path) -> None:
    store.write_bytes("model/a", b"1")
    store.write_bytes("model/deep/b", b"2")
    with store.local_folder("model", tmp_path / "scratch") as folder:
        contents = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert contents == {"a": b"1", "deep/b": b"2"}
    with store.below("model").local_folder("", tmp_path / "scratch") as folder:
        assert (folder / "deep" / "b").read_bytes() == b"2"
    assert store.list_keys() == ["model/a", "model/deep/b"]


def test_copies_of_remote_folders_do_not_stay_on_the_disk(tmp_path: Path) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    store.write_bytes("model/a", b"1")
    with store.local_folder("model", tmp_path / "scratch") as folder:
        assert (folder / "a").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_whole_remote_file_takes_a_request_a_block_and_not_one_every_8_kib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, data = Store(f"memory://{uuid.uuid4().hex}"), bytes(range(256)) * 2000
    store.write_bytes("x", data)
    sizes = []
    plain = store.file_system.cat_file

    def counted(path: str, start: int, end: int) -> Any:
        sizes.append(end - start)
        return plain(path, start=start, end=end)

    monkeypatch.setattr(store.file_system, "cat_file", counted)
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", 200_000)
    assert store.read_bytes("x") == data
    assert sizes == [200_000, 200_000, 112_000]
