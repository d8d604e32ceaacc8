"""Six bytes a parameter learn what float32 AdamW learns."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import lean_adam
from benchmarks.lean_adam import LeanAdam, Moment, halves, joined


def test_halves_join_to_the_same_bits_and_the_high_one_is_the_nearest() -> None:
    generator = torch.Generator().manual_seed(1)
    bits = torch.randint(-(2**31), 2**31 - 1, (100_000,), generator=generator, dtype=torch.int64)
    values = bits.to(torch.int32).view(torch.float32)
    values = values[values.abs() < 1e38]
    ties = torch.tensor([1.00390625, 1.01171875, -1.00390625, 0.0, 2**-126, 1 + 2**-23])
    values = torch.cat([values, ties])
    high, low = halves(values)
    assert high.dtype == torch.bfloat16
    assert torch.equal(joined(high, low), values)
    nearest = (values.bfloat16().float() - values).abs()
    assert torch.equal((high.float() - values).abs(), nearest)


def test_a_moment_is_right_on_average_and_never_off_by_more_than_an_eighth() -> None:
    torch.manual_seed(0)
    values = torch.randn(1000)
    found = []
    for _ in range(300):
        moment = Moment(len(values), torch.device("cpu"))
        moment.write(slice(0, 1000), values)
        found.append(moment.read(slice(0, 1000)))
    stacked = torch.stack(found)
    small = values.abs().max() * 2**-14  # below the range of exponents
    assert ((stacked - values).abs() <= values.abs() / 8 + small).all()
    error = (stacked.mean(0) - values).abs()
    assert (error < values.abs() / 8 / 300**0.5 * 5 + small).all()
    moment.write(slice(0, 1000), torch.zeros(1000))
    assert not moment.read(slice(0, 1000)).any()


def regression(dtype: torch.dtype) -> tuple[nn.Sequential, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 7)).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(drawn.bfloat16())
    x, y = torch.randn(64, 24, generator=generator), torch.randn(64, 7, generator=generator)
    return model, x.to(dtype), y.to(dtype)


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.mse_loss(model(x).float(), y.float())


def test_it_goes_the_way_of_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean_adam, "_CHUNK", 512)  # several chunks a matrix
    torch.manual_seed(0)
    lean, *data = regression(torch.bfloat16)
    exact, *exact_data = regression(torch.float32)
    begin = nn.utils.parameters_to_vector(exact.parameters()).detach().clone()
    matrices = [p for p in exact.parameters() if p.dim() > 1]
    others = [p for p in exact.parameters() if p.dim() <= 1]
    adamw = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 5.0}, {"params": others, "weight_decay": 0.0}],
        lr=3e-3,
        betas=(0.9, 0.98),
    )
    with LeanAdam(lean.parameters(), 3e-3, weight_decay=5.0):
        for _ in range(50):
            loss_of(lean, *data).backward()
            assert all(p.grad is None for p in lean.parameters())
            adamw.zero_grad()
            loss_of(exact, *exact_data).backward()
            adamw.step()
    ends = [nn.utils.parameters_to_vector(m.parameters()).detach().float() for m in (lean, exact)]
    assert (ends[0] - ends[1]).norm() < 0.1 * (ends[1] - begin).norm()
    losses = [loss_of(lean, *data).item(), loss_of(exact, *exact_data).item()]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[1] < 0.8


def test_steps_far_below_the_weights_resolution_add_up() -> None:
    weight = nn.Parameter(torch.full((300, 3), 1.0, dtype=torch.bfloat16))
    with LeanAdam([weight], learning_rate=1e-4, weight_decay=0.0):
        for _ in range(100):
            weight.sum().backward()
    # bfloat16 has steps of 0.004 below 1: a plain update by 0.0001 would be lost each time.
    assert torch.allclose(weight.float(), torch.tensor(0.99), atol=0.003)


def test_frozen_parameters_stay_other_types_are_refused_and_hooks_go() -> None:
    model, x, y = regression(torch.bfloat16)
    model[0].requires_grad_(False)
    before = [p.detach().clone() for p in model.parameters()]
    with LeanAdam(model.parameters(), 1e-2):
        loss_of(model, x, y).backward()
    same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert same == [True, True, False, False]
    loss_of(model, x, y).backward()
    assert model[2].weight.grad is not None
    with pytest.raises(ValueError, match=r"shape \(40, 24\) is torch.float32.*bfloat16\(\)"):
        LeanAdam(model.float().requires_grad_(True).parameters(), 1e-2)
