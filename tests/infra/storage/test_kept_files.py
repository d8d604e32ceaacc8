"""What a stage keeps is believed by its content, files and folders alike."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.storage.kept_files import is_kept, keep_folder, upload_kept, write_kept
from infra.storage.store import Store

Progress = Callable[[str], None]


@pytest.fixture(params=["", "memory:/"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = Store(f"{request.param}{tmp_path}/artifact")
    yield store
    store.delete("")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "below").mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "below" / "weights").write_bytes(b"0123456789")
    return folder


def lines() -> tuple[list[str], Progress]:
    said: list[str] = []
    return said, said.append


def flip(store: Store, key: str, bit: int) -> None:
    data = bytearray(store.read_bytes(key))
    data[bit // 8] ^= 1 << bit % 8
    store.write_bytes(key, bytes(data))


def test_what_was_never_kept_is_not_there_and_not_worth_a_word(store: Store) -> None:
    said, progress = lines()
    assert not is_kept(store, "scratch/answers", progress)
    store.write_bytes("scratch/answers", b"of an earlier version, or of a killed writer")
    assert not is_kept(store, "scratch/answers", progress)
    assert said == []


@pytest.mark.parametrize("key", ["scratch/answers.jsonl", "answers.jsonl"])
def test_a_kept_file_is_there_until_a_bit_of_it_or_of_its_digest_changes(
    store: Store, key: str
) -> None:
    said, progress = lines()
    write_kept(store, key, b"content")
    assert store.read_bytes(key) == b"content"
    assert is_kept(store, key, progress)
    assert said == []
    for name in (key, "scratch/answers.jsonl.sha256"):
        before = store.read_bytes(name)
        for bit in range(8 * len(before)):
            flip(store, name, bit)
            assert not is_kept(store, key, progress)
            store.write_bytes(name, before)
    assert set(said) == {f"{key} is not what was kept (lost, cut off or changed): it is made again"}
    assert is_kept(store, key, progress)


def test_a_kept_file_that_is_lost_or_cut_off_is_not_there(store: Store) -> None:
    said, progress = lines()
    harms: list[Callable[[], None]] = [
        lambda: store.delete("scratch/a"),
        lambda: store.write_bytes("scratch/a", b""),
        lambda: store.write_bytes("scratch/a", b"conten"),
        lambda: store.delete("scratch/a.sha256"),
        lambda: store.write_bytes("scratch/a.sha256", b""),
    ]
    for harm in harms:
        write_kept(store, "scratch/a", b"content")
        assert is_kept(store, "scratch/a", progress)
        harm()
        assert not is_kept(store, "scratch/a", progress)
    assert len(said) == 4, "a file without a digest is what a killed writer leaves"


def test_a_kept_folder_is_all_its_files_under_their_names(store: Store, made: Path) -> None:
    said, progress = lines()
    harms: list[Callable[[], None]] = [
        lambda: flip(store, "scratch/model/below/weights", 11),
        lambda: store.write_bytes("scratch/model/config.json", b"{"),
        lambda: store.delete("scratch/model/config.json"),
        lambda: store.delete("scratch/model"),
        lambda: store.write_bytes("scratch/model/another", b""),
    ]
    for harm in harms:
        upload_kept(store, made, "scratch/model")
        assert is_kept(store, "scratch/model", progress)
        harm()
        assert not is_kept(store, "scratch/model", progress)
    assert len(said) == len(harms)


def test_making_a_folder_again_leaves_nothing_of_the_one_before(store: Store, made: Path) -> None:
    store.write_bytes("scratch/model/of-a-killed-run", b"x")
    upload_kept(store, made, "scratch/model")
    assert store.list_keys("scratch/model") == [
        "scratch/model/below/weights",
        "scratch/model/config.json",
    ]


def test_a_folder_that_workers_wrote_is_kept_as_it_is(store: Store, made: Path) -> None:
    _, progress = lines()
    store.upload(made, "checkpoint")
    assert not is_kept(store, "checkpoint", progress)
    keep_folder(store, "checkpoint")
    assert is_kept(store, "checkpoint", progress)
    assert store.exists("scratch/checkpoint.sha256"), "no part of a finished artifact"
    flip(store, "checkpoint/config.json", 3)
    assert not is_kept(store, "checkpoint", progress)


def test_a_writer_that_is_killed_before_the_digest_leaves_nothing_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, progress = lines()
    write_kept(store, "scratch/a", b"first")
    monkeypatch.setattr(Store, "write_text", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        write_kept(store, "scratch/a", b"second")
    assert not is_kept(store, "scratch/a", progress)
