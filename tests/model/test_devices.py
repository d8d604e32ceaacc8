"""Everything is computed where the inputs are, without asking the device for numbers on the way.

Two ways to see it. Without a GPU, a model on the device "meta" knows shapes alone: an operation
that mixes devices is caught below, and one that needs a number from the device fails by itself.
With a GPU, its results are compared with the CPU's.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.audio import num_feature_frames
from model.batch import AnswerPair, Batch, collate, collate_pairs
from model.cache import DecodeCache, PromptCache
from model.encoder import encode_audio
from model.features import log_mel_spectrogram
from model.forward import cross_entropy, hidden_states, pair_log_probs
from model.generate import GenerationSettings, _next_logits, generate
from tests.support.oracle import (
    CONVERSATIONS,
    FEATURES,
    RECIPE,
    make_waveform,
    prompt_of,
    tokens_of,
)

Model: TypeAlias = Qwen2AudioForConditionalGeneration
META = torch.device("meta")
GPU = torch.device("cuda")
LENGTHS = [321, 5000, 479_900, 70 * 16_000]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices: copies are the only way across.

    Single numbers on the CPU go along with any device, as they do on a GPU.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        devices = {x.device for x in tensors if x.dim() > 0}
        copies = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        if len(devices) > 1 and function not in copies:
            raise AssertionError(f"{function} is given tensors on {devices}")
        return function(*args, **kwargs or {})


@pytest.fixture
def one_device() -> Iterator[None]:
    with OneDevice():  # type: ignore[no-untyped-call]
        yield


@pytest.fixture
def batch(processor: Qwen2AudioProcessor) -> Batch:
    return collate([tokens_of(c, processor) for c in CONVERSATIONS], FEATURES)


@pytest.fixture
def pairs(processor: Qwen2AudioProcessor) -> Batch:
    made = [
        AnswerPair(prompt_of(CONVERSATIONS[i], processor), (5, 6, 7), (8, 9, 10, 11))
        for i in (0, 3)
    ]
    return collate_pairs(made, FEATURES)


def test_the_watch_sees_mixed_devices(one_device: None) -> None:
    with pytest.raises(AssertionError, match=r"index_select.*tensors on"):
        torch.zeros(3, 2, device=META).index_select(0, torch.tensor([1]))


def test_log_mel_stays_where_the_waveforms_are(one_device: None) -> None:
    waveforms = [torch.empty(n, device=META) for n in LENGTHS]
    features = log_mel_spectrogram(waveforms, 128)
    assert {clip.device for clip in features} == {META}
    assert [clip.shape for clip in features] == [(128, num_feature_frames(n)) for n in LENGTHS]


def test_the_encoder_takes_features_of_any_device(model: Model, one_device: None) -> None:
    model.to(META)
    for device in ("cpu", META):
        clips = [FEATURES[name].to(device) for name in ("odd", "shortest")]
        tokens, counts = encode_audio(model, clips)
        assert (tokens.device, tokens.shape) == (META, (sum(counts), RECIPE.text_width))


def test_losses_and_gradients_stay_where_the_model_is(
    model: Model, batch: Batch, pairs: Batch, one_device: None
) -> None:
    model.to(META).train()
    text_alone = Batch(**(vars(batch) | {"features": ()}))
    for loss in (
        cross_entropy(model, batch, 0.1),
        cross_entropy(model, text_alone, 0.1),
        torch.cat(pair_log_probs(model, pairs)).sum(),
    ):
        model.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad.device == META, name


def test_a_step_of_decoding_stays_where_the_model_is(
    model: Model, processor: Qwen2AudioProcessor, one_device: None
) -> None:
    prompts = [prompt_of(c, processor) for c in CONVERSATIONS[:2]]
    model.to(META)
    collected = PromptCache()
    with torch.inference_mode():
        hidden_states(model, collate(prompts, FEATURES), collected)
        cache = DecodeCache(collected, torch.tensor([len(p) for p in prompts]), num_samples=2)
        logits = _next_logits(model, torch.empty(4, dtype=torch.int64, device=META), cache)
    assert (logits.device, len(logits)) == (META, 4)


@needs_gpu
def test_log_mel_on_the_gpu_equals_the_cpus() -> None:
    waveforms = [make_waveform(n, seed=n) for n in LENGTHS]
    on_gpu = log_mel_spectrogram([waveform.to(GPU) for waveform in waveforms], 128)
    for found, expected in zip(on_gpu, log_mel_spectrogram(waveforms, 128), strict=True):
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=0)


@needs_gpu
def test_losses_gradients_and_answers_on_the_gpu_equal_the_cpus(
    model: Model, processor: Qwen2AudioProcessor, batch: Batch, pairs: Batch
) -> None:
    prompts = [prompt_of(c, processor) for c in CONVERSATIONS]
    names = [c.id for c in CONVERSATIONS]
    settings = GenerationSettings(max_new_tokens=8, num_samples=2, temperature=1.0, top_p=0.9)

    def results() -> tuple[list[Tensor], list[Any]]:
        model.zero_grad()
        losses = [cross_entropy(model, batch, 0.1), *pair_log_probs(model, pairs)]
        torch.cat([loss.flatten() for loss in losses]).sum().backward()
        gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
        answers = generate(model, prompts, FEATURES, settings, frozenset(), names)
        ids = [[sample.token_ids for sample in samples] for samples in answers]
        return [*(loss.detach().cpu() for loss in losses), *gradients], ids

    on_cpu, answers = results()
    model.to(GPU)
    on_gpu, answers_on_gpu = results()
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert answers_on_gpu == answers
