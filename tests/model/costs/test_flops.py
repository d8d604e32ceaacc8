"""Counted operations equal those that torch counts while the passes run."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.attention import Packed, Tree
from model.audio import MIN_SAMPLES, num_feature_frames, num_mel_frames, num_positions
from model.batch import collate
from model.costs.flops import (
    Flops,
    checkpointing_flops,
    encoder_flops,
    language_model_flops,
    measured_peak,
    padded_encoder_flops,
    padded_language_model_flops,
    step_flops,
)
from model.encoder import encode_audio
from model.forward import cross_entropy
from model.sequence import TokenSequence
from model.tuning import TuningRecipe, apply_tuning
from tests.support.oracle import (
    CLIPS,
    CONVERSATIONS,
    FEATURES,
    RECIPE,
    chat,
    padded_inputs,
    tokens_of,
)

Model: TypeAlias = Qwen2AudioForConditionalGeneration
POSITIONS = [num_positions(num_mel_frames(len(waveform))) for waveform in CLIPS.values()]


def counted(run: Callable[[], Any]) -> int:
    """torch's own count. It lacks attention on CPU: give it the formulas that it has for GPUs,
    which count causal attention as if it were executed in full.
    """
    aten = torch.ops.aten
    forward = aten._scaled_dot_product_flash_attention_for_cpu
    backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
    formulas = {
        forward: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        backward: lambda gradient, q, k, v, *_, **__: sdpa_backward_flop_count(gradient, q, k, v),
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        run()
    return int(counter.get_total_flops())


class FullyCounted(Packed):
    @property
    def num_pairs(self) -> float:
        return 2 * super().num_pairs


def uncausal(flops: Flops) -> Flops:
    """As if both halves of the scores were executed."""
    return Flops(flops.products, 2 * flops.attention)


def test_the_packed_encoder_executes_what_is_counted(model: Model) -> None:
    clips = list(FEATURES.values())
    expected = encoder_flops(model.config, POSITIONS)
    with torch.no_grad():
        assert counted(lambda: encode_audio(model, clips)) == expected.forward
    # Nothing needs the mel's gradient, so the first convolution makes none.
    mel = 2 * 3 * RECIPE.num_mel_bins * RECIPE.audio_width * sum(2 * n + 2 for n in POSITIONS)
    trained = counted(lambda: encode_audio(model, clips)[0].sum().backward())
    assert trained == expected.trained - mel


def test_the_padded_encoder_executes_what_is_counted(model: Model) -> None:
    inputs = padded_inputs(list(CLIPS.values()), RECIPE.num_mel_bins)["input_features"]

    def run() -> Tensor:
        hidden = model.model.audio_tower(inputs).last_hidden_state
        projected: Tensor = model.model.multi_modal_projector(hidden)
        return projected

    with torch.no_grad():
        assert counted(run) == padded_encoder_flops(model.config, len(CLIPS)).forward


@pytest.fixture
def texts(model: Model, processor: Qwen2AudioProcessor) -> list[TokenSequence]:
    """Conversations without audio, and an encoder that is not trained: no clip is encoded."""
    model.model.audio_tower.requires_grad_(False)
    question = ("user", "What is the sound?", ())
    longer = chat("longer", question, ("assistant", "A dog barks while rain falls.", ()))
    return [tokens_of(conversation, processor) for conversation in (CONVERSATIONS[2], longer)]


def test_the_packed_language_model_executes_what_is_counted(
    model: Model, texts: list[TokenSequence]
) -> None:
    batch = collate(texts, FEATURES)
    lengths = [len(text) for text in texts]
    expected = uncausal(language_model_flops(model.config, lengths, batch.num_labels))
    with torch.no_grad():
        assert counted(lambda: cross_entropy(model, batch, 0.0)) == expected.forward
    # In training a batch of text alone hears a moment of silence, which is not counted as work.
    moment = torch.zeros(model.config.audio_config.num_mel_bins, num_feature_frames(MIN_SAMPLES))
    silence = counted(lambda: encode_audio(model, [moment])[0].sum().backward())
    trained = counted(lambda: cross_entropy(model, batch, 0.0).backward())
    assert trained == expected.trained + silence
    model.model.language_model.requires_grad_(False)
    model.lm_head.requires_grad_(False)
    model.model.language_model.embed_tokens.requires_grad_(True)
    frozen = counted(lambda: cross_entropy(model, batch, 0.0).backward())
    assert frozen == expected.frozen + silence


def test_the_padded_language_model_executes_what_is_counted(
    model: Model, texts: list[TokenSequence]
) -> None:
    rows = [torch.from_numpy(text.input_ids) for text in texts]
    input_ids = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    expected = padded_language_model_flops(model.config, *input_ids.shape)
    with torch.no_grad():
        run = counted(lambda: model(input_ids=input_ids, attention_mask=mask))
    assert run == expected.forward


@pytest.mark.parametrize(
    "tuning",
    [
        TuningRecipe(),
        TuningRecipe(audio_encoder="frozen"),
        TuningRecipe(audio_encoder="frozen", language_model="frozen"),
        TuningRecipe(projector="frozen", language_model="frozen"),
    ],
)
def test_a_step_executes_what_is_counted_whatever_learns(
    model: Model, processor: Qwen2AudioProcessor, tuning: TuningRecipe
) -> None:
    apply_tuning(model, tuning, seed=0)
    batch = collate([tokens_of(c, processor) for c in CONVERSATIONS], FEATURES)
    # torch counts both halves of causal scores: hand it a plan that counts them too.
    assert isinstance(batch.plan, Packed)
    whole = replace(batch, plan=FullyCounted(batch.plan.lengths, causal=True))
    expected = counted(lambda: cross_entropy(model, batch, 0.0).backward())
    # The convolutions' and the projector's inputs need no gradient; the count has them all.
    assert step_flops(model, whole) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(
    "tuning",
    [
        TuningRecipe(),
        TuningRecipe(audio_encoder="frozen"),
        TuningRecipe(projector="frozen", language_model="frozen"),
    ],
)
def test_checkpointing_executes_the_layers_that_are_counted_again(
    model: Model, processor: Qwen2AudioProcessor, tuning: TuningRecipe
) -> None:
    apply_tuning(model.train(), tuning, seed=0)
    batch = collate([tokens_of(c, processor) for c in CONVERSATIONS], FEATURES)
    assert isinstance(batch.plan, Packed)
    whole = replace(batch, plan=FullyCounted(batch.plan.lengths, causal=True))
    kept = counted(lambda: cross_entropy(model, batch, 0.0).backward())
    model.activation_checkpointing_enable()
    model.disable_input_require_grads()
    made_again = counted(lambda: cross_entropy(model, batch, 0.0).backward())
    assert checkpointing_flops(model, whole) == made_again - kept


def test_a_tree_counts_what_each_answer_sees() -> None:
    tree = Tree(((5, 2, 3),))
    straight = 7 * 7 / 2
    branch = 3 * 5 + 3 * 3 / 2
    assert tree.num_pairs == straight + branch
    assert Packed((4, 6), causal=True).num_pairs == (16 + 36) / 2
    assert Packed((4, 6), causal=False).num_pairs == 16 + 36


@pytest.mark.parametrize(
    "looks",
    [
        # Slow products: three are enough. Fast ones: as many as fill a tenth of a second.
        [0.0, 3.0, 4.0, 6.0, 7.0, 7.03125],
        [0.0, 0.0625, 1.0, 1.03125, 2.0, 2.001953125, 3.0, 3.0625],
    ],
)
def test_the_measured_peak_is_that_of_the_best_product(
    monkeypatch: pytest.MonkeyPatch, looks: list[float]
) -> None:
    best = min(end - begin for begin, end in zip(looks[::2], looks[1::2], strict=True))
    clock = iter(looks)
    monkeypatch.setattr("model.costs.flops.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert measured_peak(torch.device("cpu"), torch.float32) == 2 * 512**3 / best
    assert list(clock) == []
