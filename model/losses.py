"""Losses as pure functions of log-probabilities."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class DpoLoss(NamedTuple):
    """Loss and implicit rewards of preference pairs, each float32 [number of pairs]."""

    losses: Tensor
    chosen_rewards: Tensor
    """beta * log(pi / pi_ref) of the chosen answers, without gradient: for metrics."""
    rejected_rewards: Tensor


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
) -> DpoLoss:
    """-log sigmoid(beta [log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x)]) for each pair.

    Args:
        policy_chosen: log pi(y_w|x), summed over the answer's tokens, [number of pairs]; the
            others alike.
        beta: how strongly the policy is held to the reference; larger holds it closer.

    Source: Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; Qwen2-Audio's report uses the same.
    """
    chosen_rewards = beta * (policy_chosen - reference_chosen)
    rejected_rewards = beta * (policy_rejected - reference_rejected)
    losses = -functional.logsigmoid(chosen_rewards - rejected_rewards)
    return DpoLoss(losses, chosen_rewards.detach(), rejected_rewards.detach())
