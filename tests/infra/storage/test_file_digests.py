"""A digest is remembered as long as the file looks the same, and not a moment longer."""

import hashlib
import os
from pathlib import Path

import pytest

from infra.storage.file_digests import FileDigests
from infra.storage.store import Store


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"first")
    return path


def test_a_file_is_read_once_by_many_processes(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, memory = Store(str(weights.parent)), tmp_path / "digests.json"
    assert FileDigests(memory).digest(store, weights.name) == sha256(b"first")
    monkeypatch.setattr(Store, "digest", lambda *_: pytest.fail("read again"))
    assert FileDigests(memory).digest(store, weights.name) == sha256(b"first")


def test_another_size_or_time_is_read_again(tmp_path: Path, weights: Path) -> None:
    store, digests = Store(str(weights.parent)), FileDigests(tmp_path / "digests.json")
    digests.digest(store, weights.name)
    weights.write_bytes(b"longer than before")
    assert digests.digest(store, weights.name) == sha256(b"longer than before")
    seen = weights.stat()
    weights.write_bytes(b"LONGER THAN BEFORE")
    os.utime(weights, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
    assert digests.digest(store, weights.name) == sha256(b"LONGER THAN BEFORE")


@pytest.mark.parametrize("nonsense", ["", "{", "[1]", "\x00"])
def test_a_memory_that_is_none_is_begun_anew(tmp_path: Path, weights: Path, nonsense: str) -> None:
    memory = tmp_path / "digests.json"
    memory.write_text(nonsense)
    digest = FileDigests(memory).digest(Store(str(weights.parent)), weights.name)
    assert digest == sha256(b"first")


def test_a_memory_with_a_flipped_bit_is_begun_anew(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # a thousand times
    store, memory = Store(str(weights.parent)), tmp_path / "digests.json"
    FileDigests(memory).digest(store, weights.name)
    data = memory.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        memory.write_bytes(changed)
        assert FileDigests(memory).digest(store, weights.name) == sha256(b"first")
