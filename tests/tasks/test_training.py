"""The loop's pure parts: learning rate, split over workers, training states."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from infra.compute import Worker
from infra.store import Store
from tasks.optimization import OptimizerRecipe, share
from tasks.training_state import TrainingState, load_state, save_state

RECIPE = OptimizerRecipe(steps=10, examples_per_step=4, learning_rate=1.0, warmup_steps=4)


def test_the_rate_rises_linearly_and_falls_linearly_to_zero() -> None:
    rates = [RECIPE.rate(step) for step in range(11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.integers(1, 6))
def test_workers_share_a_step_without_loss_or_repetition(
    costs: list[float], world_size: int
) -> None:
    examples = list(range(100, 100 + len(costs)))
    if len(costs) < world_size:
        with pytest.raises(ValueError, match=f"{len(costs)} examples for {world_size} workers"):
            share(examples, costs, Worker(0, world_size))
        return
    parts = [share(examples, costs, Worker(rank, world_size)) for rank in range(world_size)]
    assert sorted(example for part in parts for example in part) == examples
    assert all(parts)


def test_long_examples_go_to_different_workers() -> None:
    parts = [share([0, 1, 2, 3], [10.0, 9.0, 1.0, 1.0], Worker(rank, 2)) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == [0, 1, 2, 3]
    assert not any({0, 1} <= set(part) for part in parts)


def trained(seed: int, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_a_state_gives_model_optimizer_position_and_history_back(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    model, optimizer = trained(seed=1, steps=3)
    history = [{"step": 3, "metrics": {"loss": 0.5}}]
    save_state(store, model, optimizer, TrainingState(step=3, history=history))
    other, other_optimizer = trained(seed=2, steps=1)
    state = load_state(store, other, other_optimizer)
    assert (state.step, state.history) == (3, history)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        moments, others = optimizer.state[mine], other_optimizer.state[theirs]
        assert torch.equal(moments["exp_avg_sq"], others["exp_avg_sq"])


def test_a_damaged_state_is_skipped_for_the_one_before(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for step in (2, 4):
        save_state(store, *trained(seed=1, steps=step), TrainingState(step=step))
    newest = store.path("scratch/states/00000004/trained.pt")
    data = bytearray(Path(newest).read_bytes())
    data[len(data) // 2] ^= 1
    Path(newest).write_bytes(data)
    assert load_state(store, *trained(seed=2, steps=1)).step == 2


def test_a_state_without_its_position_file_does_not_exist(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    save_state(store, *trained(seed=1, steps=2), TrainingState(step=2))
    store.delete("scratch/states/00000002/position.json")
    assert load_state(store, *trained(seed=2, steps=1)).step == 0


def test_only_the_last_two_states_are_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for step in (1, 2, 3):
        save_state(store, *trained(seed=1, steps=step), TrainingState(step=step))
    kept = {key.split("/")[2] for key in store.list_keys("scratch/states")}
    assert kept == {"00000002", "00000003"}
