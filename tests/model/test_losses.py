"""The preference loss equals a calculation by hand."""

import math

import pytest
import torch

from model.losses import dpo_loss


def test_dpo_equals_the_equation_by_hand() -> None:
    loss = dpo_loss(
        torch.tensor([-10.0]),
        torch.tensor([-12.0]),
        torch.tensor([-11.0]),
        torch.tensor([-11.5]),
        beta=0.2,
    )
    # margin = 0.2 * ((-10 + 11) - (-12 + 11.5)) = 0.3
    assert float(loss.losses) == pytest.approx(math.log(1 + math.exp(-0.3)))
    assert float(loss.chosen_rewards) == pytest.approx(0.2)
    assert float(loss.rejected_rewards) == pytest.approx(-0.1)


def test_a_policy_equal_to_the_reference_loses_log_2_and_prefers_the_chosen_answer() -> None:
    chosen, rejected = torch.tensor([-5.0, -7.0]), torch.tensor([-6.0, -2.0])
    policy_chosen = chosen.clone().requires_grad_()
    policy_rejected = rejected.clone().requires_grad_()
    loss = dpo_loss(policy_chosen, policy_rejected, chosen, rejected, beta=0.5)
    assert loss.losses.tolist() == pytest.approx([math.log(2)] * 2)
    loss.losses.sum().backward()
    assert policy_chosen.grad is not None
    assert policy_rejected.grad is not None
    assert policy_chosen.grad.tolist() == pytest.approx([-0.25] * 2)
    assert policy_rejected.grad.tolist() == pytest.approx([0.25] * 2)


def test_the_loss_is_finite_far_from_the_reference() -> None:
    far = torch.tensor([-1e4])
    loss = dpo_loss(far, torch.zeros(1), torch.zeros(1), far, beta=1.0)
    assert float(loss.losses) == pytest.approx(2e4)
