"""Answers equal transformers' `generate`, and do not depend on the company they are made in."""

from collections.abc import Mapping
from typing import TypeAlias

import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model import cache
from model.batch import collate
from model.forward import hidden_states
from model.generate import GenerationSettings, Sample, _choose, _Row, generate
from model.sequence import TokenSequence
from tests.support.oracle import CLIPS, CONVERSATIONS, FEATURES, RECIPE, padded_inputs, prompt_of

Model: TypeAlias = Qwen2AudioForConditionalGeneration
NAMES = [conversation.id for conversation in CONVERSATIONS]
SAMPLED = GenerationSettings(max_new_tokens=12, num_samples=3, temperature=1.2, top_p=0.9, seed=5)


@pytest.fixture
def prompts(processor: Qwen2AudioProcessor) -> list[TokenSequence]:
    return [prompt_of(conversation, processor) for conversation in CONVERSATIONS]


def frequent_stops(
    model: Model, prompts: list[TokenSequence], num_new: int
) -> tuple[frozenset[int], list[list[Sample]]]:
    """Tokens that end greedy answers at different steps, and the answers without them."""
    settings = GenerationSettings(max_new_tokens=num_new)
    answers = generate(model, prompts, FEATURES, settings, frozenset(), NAMES)
    stops = {answers[0][0].token_ids[2], answers[3][0].token_ids[6]}
    return frozenset(stops), answers


def reference_answer(
    model: Model, prompt: TokenSequence, num_new: int, stops: frozenset[int]
) -> list[int]:
    audio: Mapping[str, torch.Tensor] = {}
    if prompt.clip_ids:
        audio = padded_inputs([CLIPS[clip] for clip in prompt.clip_ids], RECIPE.num_mel_bins)
    input_ids = torch.from_numpy(prompt.input_ids)[None]
    output = model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=num_new,
        do_sample=False,
        eos_token_id=sorted(stops) or None,
        pad_token_id=0,
        **audio,
    )
    new: list[int] = output[0, len(prompt) :].tolist()
    return new[:-1] if new[-1] in stops else new


@pytest.mark.parametrize("block", [64, 3])
def test_greedy_answers_equal_the_reference(
    model: Model, prompts: list[TokenSequence], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BLOCK", block)
    stops, endless = frequent_stops(model, prompts, 20)
    expected = [reference_answer(model, prompt, 20, frozenset()) for prompt in prompts]
    assert [list(samples[0].token_ids) for samples in endless] == expected
    assert len({tuple(answer) for answer in expected}) == len(prompts)

    settings = GenerationSettings(max_new_tokens=20)
    answers = generate(model, prompts, FEATURES, settings, stops, NAMES)
    expected = [reference_answer(model, prompt, 20, stops) for prompt in prompts]
    assert [list(samples[0].token_ids) for samples in answers] == expected
    assert len({len(answer) for answer in expected}) > 2, "rows must end at different steps"
    for (sample,), answer in zip(answers, expected, strict=True):
        assert sample.finished == (len(answer) < 20)


def test_the_log_probability_is_that_of_a_forward_over_the_answer(
    model: Model, prompts: list[TokenSequence]
) -> None:
    stops = frozenset(range(0, RECIPE.vocab_size, 5))  # leave prompts without a sample, and gaps
    samples = generate(model, prompts, FEATURES, SAMPLED, stops, NAMES)
    assert len({len(sample.token_ids) for answers in samples for sample in answers}) > 5
    for prompt, answers in zip(prompts, samples, strict=True):
        for sample in answers:
            ids = torch.tensor(sample.token_ids, dtype=torch.int64).numpy()
            whole = TokenSequence(
                input_ids=torch.cat(
                    [torch.from_numpy(prompt.input_ids), torch.tensor(ids)]
                ).numpy(),
                is_label=torch.zeros(len(prompt) + len(ids), dtype=torch.bool).numpy(),
                clip_ids=prompt.clip_ids,
                tokens_per_clip=prompt.tokens_per_clip,
                audio_positions=prompt.audio_positions,
            )
            with torch.no_grad():
                hidden = hidden_states(model, collate([whole], FEATURES))[len(prompt) - 1 :]
                log_probs = model.lm_head(hidden).log_softmax(-1)
            expected = log_probs[range(len(ids)), ids].sum()
            if sample.finished:
                ends = log_probs[-1, sorted(stops)] + expected
                assert (ends - sample.log_prob).abs().min() < 1e-4
            else:
                assert abs(float(expected) - sample.log_prob) < 1e-4


@pytest.mark.parametrize("settings", [GenerationSettings(max_new_tokens=12), SAMPLED])
def test_an_answer_does_not_depend_on_batch_or_order(
    model: Model, prompts: list[TokenSequence], settings: GenerationSettings
) -> None:
    stops, _ = frequent_stops(model, prompts, 10)
    together = generate(model, prompts, FEATURES, settings, stops, NAMES)
    reverse = generate(model, prompts[::-1], FEATURES, settings, stops, NAMES[::-1])[::-1]
    alone = [
        generate(model, [prompt], FEATURES, settings, stops, [name])[0]
        for prompt, name in zip(prompts, NAMES, strict=True)
    ]
    ids = [[[s.token_ids for s in samples] for samples in r] for r in (together, reverse, alone)]
    assert ids[0] == ids[1] == ids[2]


def test_samples_do_not_depend_on_their_number_but_on_seed_name_and_index(
    model: Model, prompts: list[TokenSequence]
) -> None:
    def draw(settings: GenerationSettings, names: list[str]) -> list[list[tuple[int, ...]]]:
        answers = generate(model, prompts, FEATURES, settings, frozenset(), names)
        return [[sample.token_ids for sample in samples] for samples in answers]

    three = draw(SAMPLED, NAMES)
    one = draw(SAMPLED.model_copy(update={"num_samples": 1}), NAMES)
    assert [samples[:1] for samples in three] == one
    assert all(len(set(samples)) == 3 for samples in three)
    assert draw(SAMPLED.model_copy(update={"seed": 6}), NAMES) != three
    assert draw(SAMPLED, [name + "'" for name in NAMES]) != three


def test_draws_follow_the_truncated_distribution() -> None:
    logits = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05]).log()[None].repeat(4000, 1)
    rows = [_Row(f"row {i}", 0, []) for i in range(4000)]

    def shares(temperature: float, top_p: float) -> list[float]:
        settings = GenerationSettings(max_new_tokens=1, temperature=temperature, top_p=top_p)
        return (_choose(logits, rows, 0, settings).bincount(minlength=5) / 4000).tolist()

    assert shares(1.0, 1.0) == pytest.approx([0.1, 0.5, 0.05, 0.3, 0.05], abs=0.03)
    assert shares(1.0, 0.75) == pytest.approx([0, 0.625, 0, 0.375, 0], abs=0.03)
    assert shares(1.0, 0.5) == [0, 1, 0, 0, 0]
    assert shares(0.5, 0.75) == pytest.approx([0, 25 / 34, 0, 9 / 34, 0], abs=0.03)


def test_names_must_match_the_prompts(model: Model, prompts: list[TokenSequence]) -> None:
    with pytest.raises(ValueError, match="5 prompts have 1 names"):
        generate(model, prompts, FEATURES, SAMPLED, frozenset(), ["a"])


def test_no_prompts_give_no_answers(model: Model) -> None:
    assert generate(model, [], FEATURES, SAMPLED, frozenset(), []) == []


def test_a_model_in_training_mode_is_refused(model: Model, prompts: list[TokenSequence]) -> None:
    with pytest.raises(ValueError, match="training mode"):
        generate(model.train(), prompts, FEATURES, SAMPLED, frozenset(), NAMES)
