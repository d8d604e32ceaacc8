"""The loop's pure parts: learning rate and training states."""

from pathlib import Path

import pytest
import torch

from infra.store import Store
from tasks.optimization import OptimizerRecipe
from tasks.training_state import Trained, TrainingState, load_state, save_state

RECIPE = OptimizerRecipe(steps=10, examples_per_step=4, learning_rate=1.0, warmup_steps=4)


def test_the_rate_rises_linearly_and_falls_linearly_to_zero() -> None:
    rates = [RECIPE.rate(step) for step in range(11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])


def trained(seed: int) -> Trained:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, 3, generator=generator)
    moments = {"exp_avg": weights / 2, "exp_avg_sq": weights**2, "step": torch.tensor(3.0)}
    return Trained(parameters={"layer.weight": weights}, optimizer={"layer.weight": moments})


def test_a_state_gives_tensors_position_and_history_back(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    history = [{"step": 3, "metrics": {"loss": 0.5}}]
    save_state(store, trained(seed=1), TrainingState(step=3, history=history))
    state, found = load_state(store)
    assert (state.step, state.history) == (3, history)
    assert found is not None
    torch.testing.assert_close(dict(found), dict(trained(seed=1)), rtol=0, atol=0)


def test_a_damaged_state_is_skipped_for_the_one_before(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for step in (2, 4):
        save_state(store, trained(seed=1), TrainingState(step=step))
    newest = store.path("scratch/states/00000004/trained.pt")
    data = bytearray(Path(newest).read_bytes())
    data[len(data) // 2] ^= 1
    Path(newest).write_bytes(data)
    assert load_state(store)[0].step == 2


def test_a_state_without_its_position_file_does_not_exist(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    save_state(store, trained(seed=1), TrainingState(step=2))
    store.delete("scratch/states/00000002/position.json")
    assert load_state(store) == (TrainingState(), None)


def test_only_the_last_two_states_are_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for step in (1, 2, 3):
        save_state(store, trained(seed=1), TrainingState(step=step))
    kept = {key.split("/")[2] for key in store.list_keys("scratch/states")}
    assert kept == {"00000002", "00000003"}
