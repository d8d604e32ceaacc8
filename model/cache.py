"""Key-value cache for decoding: filled by a packed prefill, shared by the samples of a prompt.

transformers' attention calls `update(keys, values, layer)` on the object that is passed as
`past_key_values` and attends to the result.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.attention import AttentionPlan

BLOCK = 64
"""Steps for which room is added when the answers have filled the last ones."""


class PromptCache:
    """Keeps the keys and values of packed prompts, and returns them unchanged."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Keep keys and values [1, num_kv_heads, sum of lengths, head_dim] of `layer`."""
        self.layers[layer] = (key, value)
        return key, value


class DecodeCache(AttentionPlan):
    """Keys and values of prompts, shared by their samples, and which columns a sample attends to.

    A prompt has its own columns from the left, then a gap up to the longest prompt, then for every
    step one column for each of its slots. A slot holds one sample, which attends to the prompt and
    to the columns of its slot. The packed row of a step has one token for each sample.
    """

    def __init__(self, prompts: PromptCache, lengths: Tensor, num_samples: int) -> None:
        """Unpack `prompts` of `lengths` [number of prompts], with `num_samples` slots each."""
        device = prompts.layers[0][0].device
        self._start = int(lengths.max())
        self._steps = 0
        self._slots = num_samples
        self._lengths = lengths.to(device)
        self._positions = torch.arange(len(lengths) * num_samples, device=device)
        self._layers = [
            [_unpack(packed, lengths, self._start + BLOCK * num_samples) for packed in layer]
            for _, layer in sorted(prompts.layers.items())
        ]

    def begin_step(self) -> Tensor:
        """Open a column for every slot; return the position of each sample's token, [samples]."""
        self._steps += 1
        device = self._lengths.device
        in_prompt = torch.arange(self._start, device=device) < self._lengths[:, None]
        in_slot = torch.eye(self._slots, dtype=torch.bool, device=device).repeat(1, self._steps)
        self._visible = torch.cat(
            [
                in_prompt[:, None].expand(-1, self._slots, -1),
                in_slot.expand(len(self._lengths), -1, -1),
            ],
            dim=2,
        )[:, None]
        return self._lengths[self._positions // self._slots] + self._steps - 1

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Write [1, num_kv_heads, samples, head_dim] into the open columns.

        Returns:
            All columns: [prompts, num_kv_heads, columns, head_dim].
        """
        buffers = self._layers[layer]
        filled = self._start + self._steps * self._slots
        for i, new in enumerate((key, value)):
            if filled > buffers[i].shape[2]:
                buffers[i] = functional.pad(buffers[i], (0, 0, 0, BLOCK * self._slots))
            buffers[i][:, :, filled - self._slots : filled] = self._to_slots(new)
        return buffers[0][:, :, :filled], buffers[1][:, :, :filled]

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
    ) -> Tensor:
        """Call SDPA once: a prompt's samples are the queries of one row."""
        output = functional.scaled_dot_product_attention(
            self._to_slots(query),
            key,
            value,
            attn_mask=self._visible,
            dropout_p=dropout,
            scale=scale,
        )
        return output.transpose(1, 2).flatten(0, 1)[self._positions]

    def keep(self, rows: Tensor) -> None:
        """Drop all samples except `rows` [number kept], ascending.

        Columns move only when a prompt is answered or no prompt needs its last slot any more.
        """
        positions = self._positions[rows.to(self._positions.device)]
        prompts, owner, counts = (positions // self._slots).unique_consecutive(
            return_inverse=True, return_counts=True
        )
        slots = int(counts.max())
        if len(prompts) == len(self._lengths) and slots == self._slots:
            self._positions = positions
            return
        first = counts.cumsum(0) - counts
        moved = owner * slots + torch.arange(len(owner), device=owner.device) - first[owner]
        sources = moved.new_zeros(len(prompts) * slots)
        sources[moved] = positions % self._slots
        sources = sources.view(-1, 1, 1, slots, 1)
        filled = self._start + self._steps * self._slots
        for buffers in self._layers:
            for i, buffer in enumerate(buffers):
                prompt, answers, _ = buffer[prompts].tensor_split((self._start, filled), dim=2)
                answers = answers.unflatten(2, (self._steps, self._slots))
                answers = answers.take_along_dim(sources, dim=3)
                buffers[i] = torch.cat([prompt, answers.flatten(2, 3)], dim=2)
        self._lengths = self._lengths[prompts]
        self._positions = moved
        self._slots = slots

    def _to_slots(self, packed: Tensor) -> Tensor:
        """Unpack [1, heads, samples, dim] to [prompts, heads, slots, dim], zero in empty slots."""
        _, heads, _, dim = packed.shape
        prompts = len(self._lengths)
        slots = packed.new_zeros(heads, prompts * self._slots, dim)
        slots.index_copy_(1, self._positions, packed[0])
        rows: Tensor = slots.unflatten(1, (prompts, self._slots))
        return rows.transpose(0, 1)


def _unpack(packed: Tensor, lengths: Tensor, columns: int) -> Tensor:
    """Unpack [1, heads, sum of lengths, dim] to [prompts, heads, columns, dim], zero-padded."""
    unpacked = packed.new_zeros(len(lengths), packed.shape[1], columns, packed.shape[3])
    for row, part in zip(unpacked, packed[0].split(lengths.tolist(), dim=1), strict=True):
        row[:, : part.shape[1]] = part
    return unpacked
