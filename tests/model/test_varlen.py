"""Both paths of attention agree: one kernel call a row, and one SDPA call a sequence.

Without a GPU the kernel is stood in for by its documented semantics, written in plain torch. The
arguments are held to the real function's signature and to its shape rules (device "meta").
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model import varlen
from model.attention import AttentionPlan, Packed, Tree
from model.batch import AnswerPair, collate, collate_pairs
from model.forward import cross_entropy, pair_log_probs
from tests.support.oracle import CONVERSATIONS, FEATURES, prompt_of, tokens_of

Model: TypeAlias = Qwen2AudioForConditionalGeneration

PLANS: list[Packed | Tree] = [
    Packed((3, 5, 5, 1, 7), causal=True),
    Packed((3, 5, 5, 1, 7), causal=False),
    Tree(((4, 3, 2), (2, 1, 5), (1, 1, 1))),
]

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="no GPU of at least the Ampere generation",
)


class Kernel:
    """Stands in for `varlen_attn` on a machine without a GPU, and keeps what it was given."""

    def __init__(self) -> None:
        self.starts: list[tuple[Tensor, Tensor]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        given = inspect.signature(varlen_attn).bind(*args, **kwargs)
        given.apply_defaults()
        arguments = given.arguments
        query, key, value = (arguments[name] for name in ("query", "key", "value"))
        starts = tuple(arguments[f"cu_seq_{name}"] for name in "qk")
        assert {x.dtype for x in starts} == {torch.int32}
        assert len(query) == int(starts[0][-1])
        assert len(key) == len(value) == int(starts[1][-1])
        assert [arguments["max_q"], arguments["max_k"]] == [int(x.diff().max()) for x in starts]
        assert arguments["enable_gqa"] or query.shape[1] == key.shape[1]
        assert arguments["window_size"] in ((-1, 0), (-1, -1))
        self.starts.append(starts)
        groups = query.shape[1] // key.shape[1]
        sizes = [x.diff().tolist() for x in starts]
        outputs = []
        for q, k, v in zip(
            query.split(sizes[0]), key.split(sizes[1]), value.split(sizes[1]), strict=True
        ):
            k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
            scale = q.shape[-1] ** -0.5 if arguments["scale"] is None else arguments["scale"]
            scores = torch.einsum("qhd,khd->hqk", q, k) * scale
            if arguments["window_size"] == (-1, 0):
                seen = torch.ones(len(q), len(k)).tril(len(k) - len(q)).bool()
                scores = scores.masked_fill(~seen, -torch.inf)
            outputs.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
        return torch.cat(outputs)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Let float32 on the CPU take the kernel's path."""
    stand_in = Kernel()
    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    monkeypatch.setattr(varlen, "is_usable", lambda *_: True)
    return stand_in


def qkv(plan: Packed | Tree, kv_heads: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(1, heads, plan.num_positions, 8, generator=generator, requires_grad=True)
        for heads in (4, kv_heads, kv_heads)
    ]


def gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    output = function(*inputs)
    weight = torch.linspace(-1, 1, output.numel()).view_as(output)
    return (output, *torch.autograd.grad((output * weight).sum(), inputs))


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_the_kernels_segments_are_the_sequences_of_the_plan(
    plan: Packed | Tree, kv_heads: int, scale: float | None, kernel: Kernel
) -> None:
    def by_sequence(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (x.repeat_interleave(4 // kv_heads, dim=1) for x in (k, v))
        return plan.attend(q, k, v, scale=scale, dropout=0.0)

    inputs = qkv(plan, kv_heads)
    found = gradients(lambda q, k, v: plan.segments.attend(q, k, v, scale), inputs)
    for mine, expected in zip(found, gradients(by_sequence, inputs), strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)
    assert len(kernel.starts) == 1


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_real_function_accepts_the_arguments_in_inference_and_then_in_training(
    plan: Packed | Tree, kv_heads: int
) -> None:
    segments = replace(plan).segments
    inputs = [x.detach().bfloat16().to("meta").requires_grad_() for x in qkv(plan, kv_heads)]
    q, k, v = inputs
    with torch.inference_mode():
        segments.attend(q, k, v, scale=None)
    output = segments.attend(q, k, v, scale=None)
    assert output.shape == (plan.num_positions, 4, 8)
    output.sum().backward()
    grads = [x.grad for x in inputs if x.grad is not None]
    assert [x.shape for x in grads] == [x.shape for x in inputs]


def test_values_in_half_precision_decide_for_all(kernel: Kernel) -> None:
    plan = PLANS[0]
    query, key, value = qkv(plan)
    output = plan.segments.attend(query, key, value.bfloat16(), scale=None)
    assert output.dtype == torch.bfloat16


def test_a_model_takes_one_call_a_layer_with_starts_that_are_made_once(
    model: Model,
    processor: Qwen2AudioProcessor,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    sequences = [tokens_of(conversation, processor) for conversation in CONVERSATIONS]
    prompts = [prompt_of(conversation, processor) for conversation in CONVERSATIONS]
    pairs = [AnswerPair(prompt, (29, 28, 27), (25, 24, 23, 22)) for prompt in prompts]

    def loss() -> Tensor:
        chosen, rejected = pair_log_probs(model, collate_pairs(pairs, FEATURES))
        return cross_entropy(model, collate(sequences, FEATURES), 0.0) + (chosen - rejected).sum()

    def gradients_of_model() -> dict[str, Tensor]:
        model.zero_grad()
        loss().backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    by_sequence = gradients_of_model()
    kernel = request.getfixturevalue("kernel")
    in_one_call = gradients_of_model()
    for name, gradient in in_one_call.items():
        error = (gradient - by_sequence[name]).norm()
        assert error < 1e-4 * by_sequence[name].norm().clamp(min=1e-2), name
    # Encoder and language model have two layers each, and there are two batches.
    assert len(kernel.starts) == 8
    assert len({id(starts[0]) for starts in kernel.starts}) == 4


@pytest.mark.parametrize(
    ("value", "dropout"),
    [
        (torch.zeros(1, 2, 3, 8), 0.0),
        (torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16), 0.0),
        (torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16, device="meta"), 0.0),
    ],
)
def test_what_is_not_on_a_gpu_goes_without_the_kernel(value: Tensor, dropout: float) -> None:
    assert not varlen.is_usable(value, dropout)


@needs_gpu
@pytest.mark.parametrize(
    ("dtype", "dropout", "head_dim", "usable"),
    [
        (torch.bfloat16, 0.0, 64, True),
        (torch.float16, 0.0, 128, True),
        (torch.float32, 0.0, 64, False),
        (torch.bfloat16, 0.1, 64, False),
        (torch.bfloat16, 0.0, 12, False),
        (torch.bfloat16, 0.0, 264, False),
    ],
)
def test_on_a_gpu_half_precision_without_dropout_takes_the_kernel(
    dtype: torch.dtype, dropout: float, head_dim: int, usable: bool
) -> None:
    value = torch.zeros(1, 2, 3, head_dim, dtype=dtype, device="cuda")
    assert varlen.is_usable(value, dropout) == usable


@needs_gpu
@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_on_a_gpu_the_kernel_is_within_rounding_of_float32(
    plan: Packed | Tree, kv_heads: int
) -> None:
    rounded = [x.detach().bfloat16() for x in qkv(plan, kv_heads)]
    on_gpu = [x.cuda().requires_grad_() for x in rounded]
    exact = [x.float().requires_grad_() for x in rounded]

    def by_sequence(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (x.repeat_interleave(4 // kv_heads, dim=1) for x in (k, v))
        attends: AttentionPlan = plan
        return attends.attend(q, k, v, scale=None, dropout=0.0)

    found = gradients(lambda q, k, v: plan.segments.attend(q, k, v, None).float(), on_gpu)
    for mine, expected in zip(found, gradients(by_sequence, exact), strict=True):
        assert (mine.float().cpu() - expected).norm() < 2e-2 * expected.norm()
