"""In which order a state's files appear and vanish: what a kill leaves is never half a state."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from data_contracts.sealed_json import unseal
from infra.compute.keep_checkpoints import KeepCheckpoints
from infra.storage.retrying_store import RetryingStore
from infra.storage.store import Store
from tasks.training.checkpoints.folder import FINAL_STATE, Checkpoints, StateMismatchError
from tasks.training.messages.notices import Notice
from tasks.training.state import Trained, TrainingState

IDENTITY = {"recipe": "a" * 64, "plan": "b" * 64, "tokenizer": "c" * 64}
WEIGHT = torch.arange(4.0)
TRAINED = Trained(parameters={"w": WEIGHT}, optimizer={"w": {"exp_avg": WEIGHT + 1}})


def checkpoints(folder: Path, identity: dict[str, str] = IDENTITY, **keep: Any) -> Checkpoints:
    patient = RetryingStore(Store(str(folder)), pytest.fail)
    return Checkpoints(patient, identity, KeepCheckpoints(**keep), refuse, folder / "local")


def refuse(notice: Notice) -> None:
    """Fail: nothing is to be reported here."""
    pytest.fail(str(notice))


def save(states: Checkpoints, step: int, **metrics: float) -> None:
    state = TrainingState(step=step, metrics=metrics, history=[{"step": step, "metrics": {}}])
    states.save(states.files_of(TRAINED, state), step)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Writes and deletions of any store, in order."""
    made: list[tuple[str, str]] = []
    write, delete = Store.write_bytes, Store.delete

    def write_bytes(store: Store, key: str, data: bytes) -> None:
        made.append(("write", key))
        write(store, key, data)

    def delete_key(store: Store, key: str) -> None:
        made.append(("delete", key))
        delete(store, key)

    monkeypatch.setattr(Store, "write_bytes", write_bytes)
    monkeypatch.setattr(Store, "delete", delete_key)
    return made


@pytest.mark.parametrize("reverse", [False, True])
def test_position_json_is_written_after_all_other_files_in_whatever_order_they_come(
    tmp_path: Path, calls: list[tuple[str, str]], reverse: bool
) -> None:
    states = checkpoints(tmp_path)
    files = states.files_of(TRAINED, TrainingState(step=3))
    assert list(files)[-1] == "position.json"
    states.write(dict(sorted(files.items(), reverse=reverse)), "somewhere")
    written = [key for verb, key in calls if verb == "write"]
    assert sorted(written) == sorted(f"somewhere/{name}" for name in files)
    assert written[-1] == "somewhere/position.json"


def test_a_deletion_begins_with_position_json_and_comes_after_the_new_state(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    states = checkpoints(tmp_path, last=1)
    save(states, 5)
    del calls[:]
    save(states, 10)
    assert calls[-3:] == [
        ("write", "scratch/states/00000010/position.json"),
        ("delete", "scratch/states/00000005/position.json"),
        ("delete", "scratch/states/00000005"),
    ]


def test_the_position_tells_everything_but_tensors_and_when_it_was_saved(tmp_path: Path) -> None:
    before = time.time()
    state = TrainingState(
        step=3, window={"loss": 1.0}, metrics={"loss": 0.5}, watch={"loss": [0.5]}, audited=2,
        held_out=[{"step": 2, "metrics": {"held_out_loss": 0.75}}],
    )  # fmt: skip
    files = checkpoints(tmp_path).files_of(TRAINED, state)
    position = unseal(json.loads(files["position.json"]))
    assert before <= position.pop("saved_at") <= time.time()  # type: ignore[operator]
    digests: Any = position.pop("sha256")
    assert digests.keys() == files.keys() - {"position.json"}
    assert position == {
        "step": 3,
        "window": {"loss": 1.0},
        "metrics": {"loss": 0.5},
        "held_out": [{"step": 2, "metrics": {"held_out_loss": 0.75}}],
        "watch": {"loss": [0.5]},
        "audited": 2,
        "identity": IDENTITY,
    }


@pytest.mark.parametrize("name", list(IDENTITY))
def test_a_state_that_lacks_a_part_of_its_identity_or_has_another_is_refused(
    tmp_path: Path, name: str
) -> None:
    rest = {key: digest for key, digest in IDENTITY.items() if key != name}
    save(checkpoints(tmp_path, identity=rest), 2)
    with pytest.raises(StateMismatchError, match=f"another {name}: its sha256 is None, this run's"):
        checkpoints(tmp_path).load_newest()
    save(checkpoints(tmp_path, identity=IDENTITY | {name: "f" * 64}), 4)
    with pytest.raises(StateMismatchError, match=f"00000004 .*another {name}: its sha256 is fff"):
        checkpoints(tmp_path).load_newest()


def test_the_newest_state_is_read_by_number_and_the_final_one_before_all(tmp_path: Path) -> None:
    states = checkpoints(tmp_path, last=9)
    for step in (9, 10, 100):
        save(states, step)
    loaded = states.load_newest()
    assert loaded is not None
    assert loaded[0].step == 100
    final = TrainingState(step=99, audited=4)
    states.write(states.files_of(TRAINED, final), FINAL_STATE)
    loaded = states.load_newest()
    assert loaded is not None
    assert (loaded[0].step, loaded[0].audited) == (99, 99)


def test_states_after_the_one_that_is_saved_go_and_do_not_count_among_the_kept(
    tmp_path: Path,
) -> None:
    states = checkpoints(tmp_path, last=2, best=1)
    for step, loss in ((10, 3.0), (20, 2.0), (30, 1.0)):
        save(states, step, loss=loss)
    save(states, 25, loss=4.0)
    kept = {int(key.split("/")[2]) for key in states.directory.list_keys("scratch/states")}
    assert kept == {20, 25}
    save(states, 25, loss=4.0)  # the newest is among those that were reached
    assert states.directory.exists("scratch/states/00000025/position.json")
