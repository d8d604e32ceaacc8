"""Attention over packed rows: several sequences behind one another, none seeing its neighbours.

transformers hands the `attention_mask` of a layer untouched to a registered attention function. A
plan of ours travels there instead of a tensor and says who sees whom. Any other mask (None, a
tensor) goes on to transformers' own `sdpa`, so that `model.generate` and the plain forward still
work on a model with this attention.

On a GPU in half precision one kernel call does a whole row (`varlen`). Elsewhere, and under
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
"""The attention implementation's name in a loaded model's configuration; never saved."""


class AttentionPlan(ABC):
    """Who attends to whom inside one packed row [1, num_heads, total, head_dim]."""

    @abstractmethod
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
    ) -> Tensor:
        """Attention output [total, num_heads, head_dim]."""


@dataclass(frozen=True)
class Packed(AttentionPlan):
    """Sequences of `lengths` behind one another; each sees itself, `causal` or in full."""

    lengths: tuple[int, ...]
    causal: bool

    @property
    def num_positions(self) -> int:
        """Positions of the row that belong to a sequence: the lengths together."""
        return sum(self.lengths)

    @cached_property
    def segments(self) -> varlen.Segments:
        """The same for the GPU's kernel."""
        return varlen.Segments(self.lengths, self.lengths, None, self.causal)

    @property
    def num_pairs(self) -> float:
        """Scores that are executed for one head, pairs of a position and one that it sees: the
        squares of the lengths, or half of them.
        """
        return sum(length**2 for length in self.lengths) / (2 if self.causal else 1)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
    ) -> Tensor:
        """One SDPA call a sequence, or a run of equally long ones: on CPU five times as fast as
        one call with a block mask, and no work is spent between sequences.
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
    """Preference pairs behind one another, each [prompt | chosen | rejected].

    Both answers see the prompt and themselves, causally; the rejected one does not see the chosen
    one. `branches` holds (prompt, chosen, rejected) lengths.
    """

    branches: tuple[tuple[int, int, int], ...]

    @property
    def num_positions(self) -> int:
        """Prompts and answers together."""
        return sum(map(sum, self.branches))

    @cached_property
    def segments(self) -> varlen.Segments:
        """Two sequences a pair: [prompt | chosen], and rejected with the prompt before its keys."""
        query_lengths: list[int] = []
        key_lengths: list[int] = []
        key_places: list[int] = []
        start = 0
        for prompt, chosen, rejected in self.branches:
            branch = start + prompt + chosen
            query_lengths += [prompt + chosen, rejected]
            key_lengths += [prompt + chosen, prompt + rejected]
            key_places += range(start, branch)
            key_places += range(start, start + prompt)
            key_places += range(branch, branch + rejected)
            start = branch + rejected
        return varlen.Segments(query_lengths, key_lengths, key_places, causal=True)

    @property
    def num_pairs(self) -> float:
        """[prompt | chosen] as half a square; rejected on the prompt, and on itself as half one."""
        return sum((p + c) ** 2 / 2 + r * (p + r / 2) for p, c, r in self.branches)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
    ) -> Tensor:
        """Two SDPA calls a pair: [prompt | chosen] on itself, rejected on [prompt | rejected]."""
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
    """Let both towers of a Qwen2-Audio `model` understand plans. Calling it again changes nothing.

    The parameters, and what is saved of the configuration, stay as they are.

    Raises:
        ValueError: for a language model with a sliding window, which plans don't know.
    """
    layer_types = getattr(model.config.text_config, "layer_types", None) or ()  # type: ignore[union-attr]
    if any(kind != "full_attention" for kind in layer_types):
        raise ValueError(
            f"text_config.layer_types is {layer_types}; packed attention knows full_attention "
            "alone. Take a language model without a sliding window (use_sliding_window false)."
        )
    AttentionInterface.register(NAME, _packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)  # type: ignore[operator]


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
