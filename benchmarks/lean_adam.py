"""AdamW in six bytes a parameter, stepping inside the backward pass.

What full fine-tuning of 8.4 billion parameters on one 80 GB card takes: the usual float32 weights,
gradients and moments would need 134 GB. Here a weight is bfloat16, the 16 bits that it lacks to
float32 are kept beside it, each moment takes one byte, and a gradient lives until its parameter has
been updated, so that they never exist all at once.

It stands beside the benchmarks until the pipeline trains on a GPU, because it changes what a step
means: the norm of all gradients is not known when the first weight moves, so they can't be clipped.

Sources: Loshchilov and Hutter 2019 (AdamW); Dettmers et al. 2022 (moments in blocks of 8 bits); Lv
et al. 2023, "LOMO" (updates inside the backward pass).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn

_BLOCK = 256
"""Values that share a scale."""
_CHUNK = 1 << 24
"""Values that are updated at once: a few temporary copies of them in float32 take 0.5 GB."""
_FLOAT8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(_FLOAT8).max
_DROPPED_BITS = 20
"""Of float32's 23 bits behind the point this type keeps 3."""
_TINY = 1e-30


class Moment:
    """A running mean in one byte a value: 8-bit floats with a float32 scale a block.

    Rounding is random and right on average. Rounding to the nearest would undo the small changes of
    a slow mean, which then would never move.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        blocks = -(-size // _BLOCK)
        self._values = torch.zeros(blocks, _BLOCK, dtype=_FLOAT8, device=device)
        self._scales = torch.zeros(blocks, 1, device=device)

    def read(self, part: slice) -> Tensor:
        """float32 [len(part)]; `part` begins with a block."""
        blocks = _blocks(part)
        values = self._values[blocks].float() * self._scales[blocks]
        return values.flatten()[: part.stop - part.start]

    def write(self, part: slice, values: Tensor) -> None:
        """Round `values`, float32 [len(part)]."""
        blocks = _blocks(part)
        padded = values.new_zeros(self._scales[blocks].shape[0], _BLOCK)
        padded.view(-1)[: len(values)] = values
        scales = padded.abs().amax(1, keepdim=True) / _LARGEST
        scaled = _round_randomly(padded / scales.clamp(min=_TINY))
        self._values[blocks] = scaled.clamp(-_LARGEST, _LARGEST).to(_FLOAT8)
        self._scales[blocks] = scales


@dataclass
class _State:
    """What belongs to one parameter."""

    low: Tensor
    """int16 [size]."""
    mean: Moment
    root: Moment
    """Square root of the mean square: half the range of exponents to be kept."""
    steps: int = 0


class LeanAdam:
    """Updates every trained parameter as soon as its gradient is complete; a context manager that
    takes its hooks away in the end. Weight decay is on matrices only.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
        eps: float = 1e-8,
    ) -> None:
        """Raises ValueError for a trained parameter that is not bfloat16."""
        self._rate, self._betas, self._decay, self._eps = learning_rate, betas, weight_decay, eps
        self._hooks = []
        self._states: dict[nn.Parameter, _State] = {}
        for parameter in parameters:
            if not parameter.requires_grad:
                continue
            if parameter.dtype != torch.bfloat16:
                raise ValueError(
                    f"a trained parameter of the shape {tuple(parameter.shape)} is "
                    f"{parameter.dtype}; its other half is kept for bfloat16 only. Convert the "
                    "model with model.bfloat16()."
                )
            size, device = parameter.numel(), parameter.device
            self._states[parameter] = _State(
                torch.zeros(size, dtype=torch.int16, device=device),
                Moment(size, device),
                Moment(size, device),
            )
            self._hooks.append(parameter.register_post_accumulate_grad_hook(self.update))

    def __enter__(self) -> "LeanAdam":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def update(self, parameter: Tensor) -> None:
        """Use up the gradient of a trained parameter; called as soon as it is complete."""
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        state = self._states[parameter]
        state.steps += 1
        high, gradient = parameter.detach().view(-1), parameter.grad.reshape(-1)
        decay = self._decay if parameter.dim() > 1 else 0.0
        for start in range(0, len(high), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(high)))
            weight = joined(high[part], state.low[part])
            weight *= 1 - self._rate * decay
            weight -= self._rate * self._direction(state, part, gradient[part].float())
            high[part], state.low[part] = halves(weight)
        parameter.grad = None

    def _direction(self, state: _State, part: slice, gradient: Tensor) -> Tensor:
        """Mean over root mean square, both without their bias to zero, with the moments updated."""
        first, second = self._betas
        mean = state.mean.read(part).lerp_(gradient, 1 - first)
        root = state.root.read(part).square_().lerp_(gradient.square(), 1 - second).sqrt_()
        state.mean.write(part, mean)
        state.root.write(part, root)
        root /= (1 - second**state.steps) ** 0.5
        return mean.div_(1 - first**state.steps).div_(root.add_(self._eps))


def halves(weight: Tensor) -> tuple[Tensor, Tensor]:
    """float32 as the nearest bfloat16 and the int16 that `joined` adds to its bits."""
    bits = weight.view(torch.int32)
    rounded = (bits + 0x8000) >> 16
    low = (bits - (rounded << 16)).to(torch.int16)
    return rounded.to(torch.int16).view(torch.bfloat16), low


def joined(high: Tensor, low: Tensor) -> Tensor:
    """The float32 values that `halves` took apart, bit for bit."""
    bits = (high.view(torch.int16).int() << 16) + low.int()
    return bits.view(torch.float32)


def _round_randomly(values: Tensor) -> Tensor:
    """float32 values to neighbours with three bits behind the point, the nearer the likelier."""
    noise = torch.randint(
        0, 1 << _DROPPED_BITS, values.shape, dtype=torch.int32, device=values.device
    )
    bits = (values.view(torch.int32) + noise) & -(1 << _DROPPED_BITS)
    return bits.view(torch.float32)


def _blocks(part: slice) -> slice:
    return slice(part.start // _BLOCK, -(-part.stop // _BLOCK))
