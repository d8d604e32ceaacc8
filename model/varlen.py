"""Attention on a GPU: one call of a variable-length kernel for all sequences of a packed row.

torch's `varlen_attn` (FlashAttention) takes rows of positions, and where each sequence's queries
and keys begin in them. A causal mask is aligned at the end: a sequence's last query attends up to
its last key, the one before it to all keys but the last, and so on (FlashAttention since 2.1;
torch's pull request 193630 says so of this function). So a sequence may have more keys than
queries: those of a prompt that another sequence holds.
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
"""Ampere, the first generation that has the kernel."""


class _Layout(NamedTuple):
    """Arguments of the kernel, on one device."""

    query_starts: Tensor
    """int32 [number of sequences + 1]."""
    key_starts: Tensor
    """int32 [number of sequences + 1]."""
    key_positions: Tensor | None
    """int64 [sum of key lengths]; None where the keys are those of the row, in its order."""


class Segments:
    """Sequences of a packed row: their queries make up the whole row, one after another; their keys
    are positions of it.
    """

    def __init__(
        self,
        query_lengths: Sequence[int],
        key_lengths: Sequence[int],
        key_positions: Sequence[int] | None,
        causal: bool,
    ) -> None:
        """Describe the sequences.

        Args:
            key_positions: [sum of key lengths]; None where each sequence's keys are its queries'.
        """
        self._query_lengths = query_lengths
        self._key_lengths = key_lengths
        self._key_positions = key_positions
        self._window = (-1, 0) if causal else (-1, -1)
        self._layouts: dict[torch.device, _Layout] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Compute the attention output [total, num_heads, head_dim] for values that `is_usable`.

        Args:
            query: [1, num_heads, total, head_dim].
            key: [1, num_kv_heads, total, head_dim], and `value`; their heads need not be repeated.
        """
        layout = self._layout_on(value.device)
        # Under autocast, rotated queries and keys come in float32 and values do not.
        q, k, v = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
        if layout.key_positions is not None:
            k, v = (x.index_select(0, layout.key_positions) for x in (k, v))
        output = varlen_attn(
            q,
            k,
            v,
            layout.query_starts,
            layout.key_starts,
            max(self._query_lengths),
            max(self._key_lengths),
            scale=scale,
            window_size=self._window,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        assert isinstance(output, Tensor)  # a pair only where more is asked for
        return output

    def _layout_on(self, device: torch.device) -> _Layout:
        """Arguments on a device, made for the first layer and kept for the others."""
        if device not in self._layouts:
            positions = self._key_positions
            # A backward pass could not use tensors that were made in inference mode.
            with torch.inference_mode(mode=False):
                self._layouts[device] = _Layout(
                    _starts(self._query_lengths, device),
                    _starts(self._key_lengths, device),
                    None if positions is None else torch.tensor(positions, device=device),
                )
        return self._layouts[device]


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
