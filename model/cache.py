"""Keys and values of decoding: collected from a packed prefill, shared by a prompt's samples.

transformers' attention calls `update(keys, values, layer)` on whatever is passed as
`past_key_values` and attends to what comes back.
"""

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 64
"""Columns that are added at once when the answers have filled the last ones."""


class PromptCache:
    """Keeps what every layer computes for packed prompts, and gives it back unchanged."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Take [1, num_kv_heads, sum of lengths, head_dim] of `layer`."""
        self.layers[layer] = (key, value)
        return key, value


class DecodeCache:
    """One row for every answer: its prompt's columns from the left, then a gap up to the longest
    prompt, then one column a step, the same for all rows.
    """

    def __init__(self, prompts: PromptCache, lengths: Tensor, num_samples: int) -> None:
        """Unpack `prompts` of `lengths` [number of prompts]; `num_samples` rows for each."""
        device = prompts.layers[0][0].device
        self._start = int(lengths.max())
        self._column = self._start - 1
        self._lengths = lengths.repeat_interleave(num_samples).to(device)
        self._layers = [
            [_unpack(packed, lengths, num_samples) for packed in layer]
            for _, layer in sorted(prompts.layers.items())
        ]

    def begin_step(self) -> Tensor:
        """Open the next column and return the position that each row's new token has, [rows]."""
        self._column += 1
        return self._lengths + (self._column - self._start)

    def visible(self) -> Tensor:
        """Columns that each row's new token sees: bool [rows, 1, 1, columns]."""
        columns = torch.arange(self._column + 1, device=self._lengths.device)
        seen = (columns < self._lengths[:, None]) | (columns >= self._start)
        return seen[:, None, None]

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Write [rows, num_kv_heads, 1, head_dim] into the open column; return all columns."""
        buffers = self._layers[layer]
        for i, new in enumerate((key, value)):
            if self._column == buffers[i].shape[2]:
                buffers[i] = functional.pad(buffers[i], (0, 0, 0, _BLOCK))
            buffers[i][:, :, self._column] = new[:, :, 0]
        filled = self._column + 1
        return buffers[0][:, :, :filled], buffers[1][:, :, :filled]

    def keep(self, rows: Tensor) -> None:
        """Drop every row but `rows` [number kept]."""
        rows = rows.to(self._lengths.device)
        self._lengths = self._lengths[rows]
        self._layers = [[buffer[rows] for buffer in layer] for layer in self._layers]


def _unpack(packed: Tensor, lengths: Tensor, num_samples: int) -> Tensor:
    """[1, heads, sum of lengths, dim] -> [prompts * num_samples, heads, longest + block, dim]."""
    longest = int(lengths.max())
    heads, dim = packed.shape[1], packed.shape[3]
    unpacked = packed.new_zeros(len(lengths), heads, longest + _BLOCK, dim)
    for row, part in zip(unpacked, packed[0].split(lengths.tolist(), dim=1), strict=True):
        row[:, : part.shape[1]] = part
    return unpacked.repeat_interleave(num_samples, dim=0)
