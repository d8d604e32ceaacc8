"""States at resume: one download a node, and no worker holds what it only reads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import Tensor

from infra.compute.keep_checkpoints import KeepCheckpoints
from infra.storage.retrying_store import RetryingStore
from infra.storage.store import Store
from tasks.training.checkpoints.folder import Checkpoints
from tasks.training.messages.notices import Notice
from tasks.training.state import Trained, TrainingState

VALUES = 1 << 20


@pytest.fixture
def remote() -> Iterator[Store]:
    """A store that is not this machine's disk."""
    store = Store("memory://states-at-resume/artifact")
    yield store
    store.delete("")


def checkpoints(store: Store, scratch: Path) -> Checkpoints:
    def fail(notice: Notice) -> None:
        pytest.fail(notice.text)

    return Checkpoints(RetryingStore(store, print), {}, KeepCheckpoints(), fail, scratch)


def save(found: Checkpoints) -> None:
    weights = torch.arange(VALUES, dtype=torch.float32)
    moments = {"exp_avg": weights + 1, "exp_avg_sq": weights + 2, "step": torch.tensor(2.0)}
    trained = Trained(parameters={"weight": weights}, optimizer={"weight": moments})
    found.save(found.files_of(trained, TrainingState(step=2)), 2)


def loaded(found: Checkpoints) -> Trained:
    state = found.load_newest()
    assert state is not None
    return state[1]


def test_the_workers_of_a_node_download_a_state_once(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [checkpoints(remote, tmp_path) for _ in range(4)]
    save(workers[0])
    opened, open_of = [], Store.open

    def counted(store: Store, key: str) -> BinaryIO:
        opened.append(key.rpartition("/")[2])
        return open_of(store, key)

    monkeypatch.setattr(Store, "open", counted)
    with ThreadPoolExecutor(len(workers)) as at_once:
        states = list(at_once.map(loaded, workers))
    for name in ("parameters.safetensors", "optimizer.safetensors", "history.json"):
        assert opened.count(name) == 1, opened
    for state in states:
        assert float(state["optimizer"]["weight"]["exp_avg_sq"][-1]) == VALUES + 1
    workers[-1].local.forget()
    assert list(tmp_path.iterdir()) == []
    assert float(states[0]["parameters"]["weight"][7]) == 7, "what is mapped stays"


def test_a_copy_that_a_lost_node_left_in_part_is_downloaded_again(
    remote: Store, tmp_path: Path
) -> None:
    worker = checkpoints(remote, tmp_path)
    save(worker)
    loaded(worker)
    (copy, *_) = sorted(tmp_path.rglob("*"), key=lambda path: -path.stat().st_size)
    whole = copy.read_bytes()
    for left in (whole[:1000], b"", bytes(len(whole))):
        copy.write_bytes(left)
        assert float(loaded(worker)["parameters"]["weight"][9]) == 9
        assert copy.read_bytes() == whole


@pytest.mark.parametrize("place", ["this machine", "another one"])
def test_a_loaded_state_lies_in_files_that_all_workers_share_and_in_no_memory_of_its_own(
    remote: Store, tmp_path: Path, place: str
) -> None:
    store = Store(str(tmp_path / "store")) if place == "this machine" else remote
    worker = checkpoints(store, tmp_path / "local")
    save(worker)
    state = loaded(worker)
    moments = state["optimizer"]["weight"]
    assert float(moments["exp_avg"].double().sum()) == VALUES * (VALUES + 1) / 2
    (weights,) = state["parameters"].values()
    files = {mapped_file(tensor) for tensor in (weights, *moments.values())}
    assert len(files) == 2
    assert all(file.startswith(str(tmp_path)) for file in files), files


def mapped_file(tensor: Tensor) -> str:
    """The file in which a tensor lies; empty where it has memory of its own."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, *_, file = line.split(maxsplit=5) if line.count("/") else (line.split()[0], "")
        start, end = (int(address, 16) for address in addresses.split("-"))
        if start <= tensor.data_ptr() < end:
            return file
    return ""
