"""Attention on a GPU: one call of a variable-length kernel for all sequences of a packed row.

torch's `varlen_attn` (FlashAttention) takes rows of positions, and where each sequence's queries
and keys begin in them. A causal mask is aligned at the end: a sequence's last query sees its last
key, the one before it all keys but the last, and so on (FlashAttention since 2.1; torch's pull
request 193630 says so of this function). So a sequence may have more keys than queries: those of a
prompt that another sequence has read already.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

_DTYPES = (torch.bfloat16, torch.float16)
_LARGEST_HEAD = 256
_HEAD_MULTIPLE = 8
_CAPABILITY = (8, 0)
"""Ampere: the first generation that has the kernel."""


class _Placed(NamedTuple):
    """What the kernel reads, on one device."""

    query_starts: Tensor
    """int32 [number of sequences + 1]."""
    key_starts: Tensor
    """int32 [number of sequences + 1]."""
    key_places: Tensor | None
    """int64 [sum of key lengths]; None where the keys are those of the row, in its order."""


class Segments:
    """The sequences of a packed row: their queries lie behind one another and are the whole row,
    their keys are positions of it.
    """

    def __init__(
        self,
        query_lengths: Sequence[int],
        key_lengths: Sequence[int],
        key_places: Sequence[int] | None,
        causal: bool,
    ) -> None:
        """`key_places` [sum of key lengths]; None where every sequence's keys are its queries'."""
        self._query_lengths = query_lengths
        self._key_lengths = key_lengths
        self._key_places = key_places
        self._window = (-1, 0) if causal else (-1, -1)
        self._placed: dict[torch.device, _Placed] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attention output [total, num_heads, head_dim] of what `is_usable` accepts.

        Args:
            query: [1, num_heads, total, head_dim].
            key: [1, num_kv_heads, total, head_dim], and `value`; their heads need not be repeated.
        """
        placed = self._on(value.device)
        # Under autocast, rotated queries and keys come in float32 and values do not.
        q, k, v = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
        if placed.key_places is not None:
            k, v = (x.index_select(0, placed.key_places) for x in (k, v))
        output = varlen_attn(
            q,
            k,
            v,
            placed.query_starts,
            placed.key_starts,
            max(self._query_lengths),
            max(self._key_lengths),
            scale=scale,
            window_size=self._window,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        assert isinstance(output, Tensor)  # a pair only where more is asked for
        return output

    def _on(self, device: torch.device) -> _Placed:
        """The same for all layers: made when the first one asks."""
        if device not in self._placed:
            places = self._key_places
            # What is made in inference mode, no later backward pass could use.
            with torch.inference_mode(mode=False):
                self._placed[device] = _Placed(
                    _starts(self._query_lengths, device),
                    _starts(self._key_lengths, device),
                    None if places is None else torch.tensor(places, device=device),
                )
        return self._placed[device]


def _starts(lengths: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


def is_usable(value: Tensor, dropout: float) -> bool:
    """Whether the kernel takes values [1, num_kv_heads, total, head_dim]: on a GPU, in half
    precision, without dropout.
    """
    head_dim = value.shape[-1]
    return (
        value.is_cuda
        and value.dtype in _DTYPES
        and dropout == 0
        and head_dim <= _LARGEST_HEAD
        and head_dim % _HEAD_MULTIPLE == 0
        and torch.cuda.get_device_capability(value.device) >= _CAPABILITY
    )
