"""Training states in the store: whole, named, checked, and never executed."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from data_contracts.digest import digest_of_bytes
from data_contracts.sealed_json import seal, unseal
from infra.compute.keep_checkpoints import KeepCheckpoints
from infra.storage.retrying_store import RetryingStore
from infra.storage.store import Store
from tasks.training.checkpoints.folder import FINAL_STATE, Checkpoints, StateMismatchError
from tasks.training.messages.notices import Notice
from tasks.training.state import Trained, TrainingState

IDENTITY = {"recipe": "a" * 64, "tokenizer": "b" * 64}


def trained(seed: int, steps: int) -> Trained:
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return Trained(
        parameters={name: p.detach() for name, p in model.named_parameters()},
        optimizer={name: dict(optimizer.state[p]) for name, p in model.named_parameters()},
    )


class Folder:
    """Checkpoints of one stage and what was said about them."""

    def __init__(self, path: Path, **keep: int) -> None:
        self.said: list[Notice] = []
        self.store = Store(str(path))
        self.checkpoints = Checkpoints(
            RetryingStore(self.store, print),
            IDENTITY,
            KeepCheckpoints(**keep),
            self.said.append,
            path / "local",
        )

    def save(self, step: int, **metrics: float) -> Trained:
        made = trained(seed=1, steps=step)
        state = TrainingState(step=step, metrics=metrics, history=[{"step": step, "metrics": {}}])
        self.checkpoints.save(self.checkpoints.files_of(made, state), step)
        return made

    def load_step(self) -> int | None:
        found = self.checkpoints.load_newest()
        return found[0].step if found else None

    def file(self, step: int, name: str) -> Path:
        return Path(self.store.path(f"scratch/states/{step:08d}/{name}"))

    @property
    def steps(self) -> list[int]:
        return sorted({int(key.split("/")[2]) for key in self.store.list_keys("scratch/states")})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_state_gives_back_every_tensor_and_the_whole_position(folder: Folder) -> None:
    made = trained(seed=1, steps=3)
    state = TrainingState(
        step=3,
        history=[{"step": 3, "metrics": {"loss": 0.5}}],
        window={"loss": 0.1, "seconds": 2.0},
        metrics={"loss": 0.5},
        held_out=[{"step": 2, "metrics": {"held_out_loss": 0.75}}],
        watch={"loss": [0.5, 0.25]},
        audited=3,
    )
    folder.checkpoints.save(folder.checkpoints.files_of(made, state), 3)
    found = folder.checkpoints.load_newest()
    assert found is not None
    assert found[0] == state
    assert found[1]["parameters"].keys() == {"weight", "bias"}
    assert found[1]["optimizer"]["weight"].keys() == {"step", "exp_avg", "exp_avg_sq"}
    for name, tensor in made["parameters"].items():
        assert torch.equal(found[1]["parameters"][name], tensor)
        for kind, moment in made["optimizer"][name].items():
            assert torch.equal(found[1]["optimizer"][name][kind], moment)


def test_training_may_go_on_while_its_state_is_uploaded(folder: Folder) -> None:
    made = trained(seed=1, steps=2)
    files = folder.checkpoints.files_of(made, TrainingState(step=2))
    before = made["parameters"]["weight"].clone()
    made["parameters"]["weight"].zero_()
    folder.checkpoints.save(files, 2)
    found = folder.checkpoints.load_newest()
    assert found is not None
    assert torch.equal(found[1]["parameters"]["weight"], before)


@pytest.mark.parametrize(
    "name", ["parameters.safetensors", "optimizer.safetensors", "position.json"]
)
def test_a_truncated_state_is_skipped_for_the_one_before_and_said(
    folder: Folder, name: str
) -> None:
    for step in (2, 4):
        folder.save(step)
    path = folder.file(4, name)
    path.write_bytes(path.read_bytes()[:-7])
    assert folder.load_step() == 2
    (notice,) = folder.said
    assert "scratch/states/00000004 is skipped for the one before" in notice.text
    assert list(notice.tags) == ["q2a.checkpoint.damaged.00000004"]


def test_a_flipped_bit_is_found(folder: Folder) -> None:
    for step in (2, 4):
        folder.save(step)
    path = folder.file(4, "optimizer.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert folder.load_step() == 2
    assert "of another sha256" in folder.said[0].text


def test_no_flipped_bit_of_a_position_is_believed(folder: Folder) -> None:
    """Nor does it decide which states are deleted."""
    for step in (2, 4):
        folder.save(step, loss=0.5)
    path = folder.file(4, "position.json")
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        assert folder.load_step() == 2, changed[max(0, position - 9) : position + 9]
    folder.save(6)
    assert folder.steps == [2, 6]


def without_digest(path: Path) -> dict[str, Any]:
    """Make a position one of the time before it had a digest of its own."""
    position = unseal(json.loads(path.read_text()))
    del position["audited"]
    path.write_text(json.dumps(position))
    return position


def test_a_state_of_an_earlier_version_is_believed_said_and_audited_from_the_start(
    folder: Folder,
) -> None:
    folder.save(4)
    without_digest(folder.file(4, "position.json"))
    found = folder.checkpoints.load_newest()
    assert found is not None
    assert (found[0].step, found[0].audited) == (4, 0)
    assert "00000004 is of an earlier version" in folder.said[0].text


@pytest.mark.parametrize("change", [{"step": 5}, {"own_sha257": "0" * 64}, {"audited": 4}])
def test_a_position_without_its_digest_is_no_old_one_where_anything_else_differs(
    folder: Folder, change: dict[str, object]
) -> None:
    for step in (2, 4):
        folder.save(step)
    path = folder.file(4, "position.json")
    path.write_text(json.dumps(without_digest(path) | change))
    assert folder.load_step() == 2


def test_a_final_state_of_an_earlier_version_ends_at_the_last_step_of_its_history(
    folder: Folder,
) -> None:
    state = TrainingState(step=12, history=[{"step": 12, "metrics": {}}])
    folder.checkpoints.write(folder.checkpoints.files_of(trained(1, 3), state), FINAL_STATE)
    path = Path(folder.store.path(f"{FINAL_STATE}/position.json"))
    position = without_digest(path)
    found = folder.checkpoints.load_newest()
    assert found is not None
    assert (found[0].step, found[0].audited) == (12, 12)
    path.write_text(json.dumps(position | {"step": 8}))
    assert folder.load_step() is None


def test_a_missing_file_is_found(folder: Folder) -> None:
    folder.save(2)
    folder.file(2, "optimizer.safetensors").unlink()
    assert folder.load_step() is None
    assert "optimizer.safetensors is missing" in folder.said[0].text


def test_an_upload_that_was_cut_off_is_no_state_and_said(folder: Folder) -> None:
    for step in (2, 4):
        folder.save(step)
    folder.file(4, "position.json").unlink()
    assert folder.load_step() == 2
    assert "it is partial, without position.json" in folder.said[0].text


def test_a_pickle_in_the_store_is_never_executed(folder: Folder, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "executed",)

    folder.save(2)
    folder.save(4)
    evil = pickle.dumps(Malicious())
    folder.file(4, "parameters.safetensors").write_bytes(evil)
    position = unseal(json.loads(folder.file(4, "position.json").read_text()))
    position["sha256"]["parameters.safetensors"] = digest_of_bytes(evil)  # type: ignore[index]
    folder.file(4, "position.json").write_text(json.dumps(seal(position)))
    assert folder.load_step() == 2
    assert "it can't be read (SafetensorError" in folder.said[0].text
    assert not (tmp_path / "executed").exists()
    pickle.loads(evil)
    assert (tmp_path / "executed").exists(), "the pickle would have done nothing anyway"


@pytest.mark.parametrize("name", ["recipe", "tokenizer"])
def test_a_state_of_another_recipe_or_tokenizer_is_refused(tmp_path: Path, name: str) -> None:
    Folder(tmp_path).save(2)
    other = Checkpoints(
        RetryingStore(Store(str(tmp_path)), print),
        IDENTITY | {name: "c" * 64},
        KeepCheckpoints(),
        lambda _: None,
        tmp_path,
    )
    with pytest.raises(StateMismatchError, match=f"made with another {name}.*Delete"):
        other.load_newest()


def test_what_no_rule_keeps_is_deleted_partial_ones_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path, last=2, best=1)
    folder.save(1, loss=0.5)
    folder.save(2, loss=0.1)
    folder.save(3, loss=0.4)
    folder.file(3, "position.json").unlink()
    folder.save(4, loss=0.3)
    folder.save(5, loss=0.2)
    assert folder.steps == [2, 4, 5]


def test_a_damaged_newer_state_displaces_no_good_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path, last=2)
    for step in (10, 20, 30):
        folder.save(step)
    folder.file(30, "optimizer.safetensors").write_bytes(b"half")
    assert folder.load_step() == 20
    folder.save(25)
    assert folder.steps == [20, 25]
    assert folder.load_step() == 25


def test_a_finished_training_goes_on_at_its_end(folder: Folder) -> None:
    folder.save(10)
    state = TrainingState(step=12)
    folder.checkpoints.write(folder.checkpoints.files_of(trained(1, 3), state), FINAL_STATE)
    assert folder.load_step() == 12
    folder.store.delete(f"{FINAL_STATE}/parameters.safetensors")
    assert folder.load_step() == 10
    assert "training_state is skipped for the one before" in folder.said[-1].text


def test_a_state_is_saved_though_old_ones_can_not_be_deleted(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_store: Store, key: str) -> None:
        raise PermissionError(f"no right to delete {key}")

    monkeypatch.setattr(Store, "delete", refuse)
    for step in (1, 2, 3):
        folder.save(step)
    assert folder.load_step() == 3
    assert "old training states stay for now (PermissionError: " in capsys.readouterr().out
