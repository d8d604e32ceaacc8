"""Plans equal one dense call under the mask that they stand for."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.attention import NAME, AttentionPlan, Packed, Tree, use_packed_attention
from tests.support.oracle import CONVERSATIONS, reference_logits, tokens_of


def qkv(total: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(1, 2, total, 8, generator=generator) for _ in range(3))
    return q, k, v


def dense(mask: Tensor) -> Tensor:
    output = scaled_dot_product_attention(*qkv(len(mask)), attn_mask=mask, scale=0.5)
    return output[0].transpose(0, 1)


@pytest.mark.parametrize("causal", [False, True])
def test_packed_sequences_see_only_themselves(causal: bool) -> None:
    lengths = (3, 5, 5, 5, 1, 3)
    mask = torch.block_diag(*(torch.ones(n, n) for n in lengths)).bool()
    if causal:
        mask = mask.tril()
    output = Packed(lengths, causal).attend(*qkv(len(mask)), scale=0.5, dropout=0.0)
    torch.testing.assert_close(output, dense(mask), atol=1e-6, rtol=0)


def test_branches_of_a_tree_see_the_prompt_and_themselves() -> None:
    branches = ((4, 3, 2), (2, 1, 5))
    blocks = []
    for prompt, chosen, rejected in branches:
        mask = torch.ones(prompt + chosen + rejected, prompt + chosen + rejected).tril()
        mask[prompt + chosen :, prompt : prompt + chosen] = 0
        blocks.append(mask)
    mask = torch.block_diag(*blocks).bool()
    plan: AttentionPlan = Tree(branches)
    output = plan.attend(*qkv(len(mask)), scale=0.5, dropout=0.0)
    torch.testing.assert_close(output, dense(mask), atol=1e-6, rtol=0)


def test_the_plain_forward_is_unchanged_and_setting_twice_is_harmless(
    model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor
) -> None:
    sequence = tokens_of(CONVERSATIONS[3], processor)
    use_packed_attention(model)
    assert model.model.language_model.config._attn_implementation == NAME
    ours = reference_logits(model, sequence)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(ours, reference_logits(model, sequence), atol=2e-5, rtol=0)
