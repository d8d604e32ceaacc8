"""Attention over packed rows: concatenated sequences, none of which attends to its neighbours.

transformers passes the `attention_mask` of a layer unchanged to a registered attention function. A
plan is passed there instead of a tensor and says which positions attend to which. Any other mask
(None, a tensor) goes on to transformers' own `sdpa`, so that `model.generate` and the plain forward
still work on a model with this attention.

On a GPU in half precision one kernel call computes a whole row (`varlen`). Elsewhere, and under
dropout, each sequence is a call of torch's `scaled_dot_product_attention`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from model import varlen

NAME = "q2a_packed"
"""Name of the attention implementation in a loaded model's configuration; never saved."""


class AttentionPlan(ABC):
    """Which positions attend to which in one packed row [1, num_heads, total, head_dim]."""

    @abstractmethod
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
    ) -> Tensor:
        """Compute the attention output [total, num_heads, head_dim]."""


@dataclass(frozen=True)
class Packed(AttentionPlan):
    """Concatenated sequences of `lengths`; each attends to itself, `causal` or in full."""

    lengths: tuple[int, ...]
    causal: bool

    @property
    def num_positions(self) -> int:
        """Number of positions in the row: the sum of the lengths."""
        return sum(self.lengths)

    @cached_property
    def segments(self) -> varlen.Segments:
        """The sequences as the GPU's kernel takes them."""
        return varlen.Segments(self.lengths, self.lengths, None, self.causal)

    @property
    def num_pairs(self) -> float:
        """Number of scores per head, one for each pair of a position and one that it attends to:
        the squares of the lengths, or half of them.
        """
        return sum(length**2 for length in self.lengths) / (2 if self.causal else 1)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
    ) -> Tensor:
        """Call SDPA once per sequence, or per run of equally long ones: on CPU five times as fast
        as one call with a block mask, and no work is spent between sequences.
        """
        runs = [(length, len(list(run))) for length, run in groupby(self.lengths)]
        sizes = [length * count for length, count in runs]
        parts = zip(runs, *(x.split(sizes, dim=2) for x in (query, key, value)), strict=True)
        outputs = []
        for (length, count), *qkv in parts:
            q, k, v = (x[0].unflatten(1, (count, length)).transpose(0, 1) for x in qkv)
            out = scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=self.causal, scale=scale
            )
            outputs.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(outputs)


@dataclass(frozen=True)
class Tree(AttentionPlan):
    """Concatenated preference pairs, each [prompt | chosen | rejected].

    Both answers attend to the prompt and to themselves, causally; the rejected one does not attend
    to the chosen one. `branches` holds (prompt, chosen, rejected) lengths.
    """

    branches: tuple[tuple[int, int, int], ...]

    @property
    def num_positions(self) -> int:
        """Number of positions in the row, prompts and answers."""
        return sum(map(sum, self.branches))

    @cached_property
    def segments(self) -> varlen.Segments:
        """Two sequences per pair: [prompt | chosen], and rejected with the prompt as more keys."""
        query_lengths: list[int] = []
        key_lengths: list[int] = []
        key_positions: list[int] = []
        start = 0
        for prompt, chosen, rejected in self.branches:
            branch = start + prompt + chosen
            query_lengths += [prompt + chosen, rejected]
            key_lengths += [prompt + chosen, prompt + rejected]
            key_positions += range(start, branch)
            key_positions += range(start, start + prompt)
            key_positions += range(branch, branch + rejected)
            start = branch + rejected
        return varlen.Segments(query_lengths, key_lengths, key_positions, causal=True)

    @property
    def num_pairs(self) -> float:
        """Number of scores per head: half the square of [prompt | chosen]; for the rejected answer
        those with the prompt, and half the square of its own.
        """
        return sum((p + c) ** 2 / 2 + r * (p + r / 2) for p, c, r in self.branches)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
    ) -> Tensor:
        """Call SDPA twice per pair: for [prompt | chosen], and for rejected on the prompt and
        itself.
        """
        sizes = [length for branch in self.branches for length in branch]
        q, k, v = (x.split(sizes, dim=2) for x in (query, key, value))
        outputs = []
        for i in range(0, len(sizes), 3):
            prompt, _, rejected = sizes[i : i + 3]
            straight = scaled_dot_product_attention(
                torch.cat(q[i : i + 2], dim=2),
                torch.cat(k[i : i + 2], dim=2),
                torch.cat(v[i : i + 2], dim=2),
                dropout_p=dropout,
                is_causal=True,
                scale=scale,
            )
            visible = torch.ones(rejected, prompt + rejected, dtype=torch.bool, device=query.device)
            branch = scaled_dot_product_attention(
                q[i + 2],
                torch.cat([k[i], k[i + 2]], dim=2),
                torch.cat([v[i], v[i + 2]], dim=2),
                attn_mask=visible.tril(prompt),
                dropout_p=dropout,
                scale=scale,
            )
            outputs += [straight[0].transpose(0, 1), branch[0].transpose(0, 1)]
        return torch.cat(outputs)


def use_packed_attention(model: nn.Module) -> None:
    """Make both towers of a Qwen2-Audio `model` accept plans. Calling it again changes nothing.

    The parameters and the saved configuration stay as they are.

    Raises:
        ValueError: for a language model with a sliding window, which plans don't support.
    """
    layer_types = getattr(model.config.text_config, "layer_types", None) or ()  # type: ignore[union-attr]
    if any(kind != "full_attention" for kind in layer_types):
        raise ValueError(
            f"text_config.layer_types is {layer_types}; packed attention supports full_attention "
            "only. Take a language model without a sliding window (use_sliding_window false)."
        )
    AttentionInterface.register(NAME, _packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)  # type: ignore[operator]


# Seven parameters: the signature is that of transformers' attention interface.
def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: AttentionPlan | Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: [batch, heads, time, dim] in, [batch, time, heads, dim]
    out.
    """
    if not isinstance(attention_mask, AttentionPlan):
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output
    dtype = query.dtype
    if isinstance(attention_mask, Packed | Tree) and varlen.is_usable(value, dropout):
        return attention_mask.segments.attend(query, key, value, scaling)[None].to(dtype), None
    if query.device.type == "cpu":
        # In bfloat16 the CPU's kernel took two to four times as long up to 150 positions.
        query, key, value = query.float(), key.float(), value.float()
    groups = query.shape[1] // key.shape[1]
    packed = attention_mask.attend(
        query, repeat_kv(key, groups), repeat_kv(value, groups), scaling, dropout
    )
    return packed[None].to(dtype), None
