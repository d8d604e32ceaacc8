"""Spelling audio tokens: the loss, its classes and what of a transcript is spelt."""

import itertools
import math
from typing import TypeAlias

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.ctc import Alphabet, class_embeddings, class_log_probs, ctc_loss, spelling
from model.encoder import encode_audio
from model.tokenizer import AUDIO
from tests.support.oracle import FEATURES

Model: TypeAlias = Qwen2AudioForConditionalGeneration


def collapsed(path: tuple[int, ...]) -> list[int]:
    """What a path spells: repetitions once, without blanks (Graves et al. 2006, section 3.1)."""
    return [label for label, _ in itertools.groupby(path) if label]


def summed_over_paths(log_probs: Tensor, target: list[int]) -> float:
    """-log of the probability of all paths that spell `target`, one by one."""
    tokens, classes = log_probs.shape
    paths = itertools.product(range(classes), repeat=tokens)
    chances = (
        math.exp(sum(float(log_probs[t, k]) for t, k in enumerate(path)))
        for path in paths
        if collapsed(path) == target
    )
    return -math.log(sum(chances))


def test_the_loss_is_the_sum_over_all_paths() -> None:
    log_probs = torch.randn(5 + 4, 3, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    targets = [[1, 1, 2], [2]]
    expected = [
        summed_over_paths(part, target)
        for part, target in zip(log_probs.split([5, 4]), targets, strict=True)
    ]
    found = ctc_loss(log_probs, [5, 4], [torch.tensor(target) for target in targets])
    assert float(found) == pytest.approx(sum(expected), abs=1e-5)


def test_clips_without_transcript_or_room_for_it_take_no_part() -> None:
    log_probs = torch.zeros(2 + 3 + 4, 3, requires_grad=True)
    normal = log_probs.log_softmax(-1)
    nothing = torch.empty(0, dtype=torch.int64)
    targets = [torch.tensor([1, 1]), nothing, torch.tensor([1, 2])]
    loss = ctc_loss(normal, [2, 3, 4], targets)  # [1, 1] needs a blank between: 3 tokens
    alone = ctc_loss(normal[5:], [4], targets[2:])
    assert float(loss.detach()) == pytest.approx(float(alone.detach()))
    loss.backward()
    assert log_probs.grad is not None
    assert not log_probs.grad[:5].any()
    assert log_probs.grad[5:].any()
    silent = ctc_loss(log_probs.log_softmax(-1), [9], [nothing])
    silent.backward()
    assert float(silent.detach()) == 0


def test_a_token_on_one_of_two_classes_is_sure_by_the_square_of_their_number() -> None:
    corners = torch.eye(6)  # every two of them are equally far apart
    log_probs = class_log_probs(corners, corners)
    odds = log_probs.diagonal()[:, None] - log_probs
    others = ~torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(odds[others], torch.full((30,), math.log(6**2)))


def test_classes_are_as_probable_as_gaussians_around_them() -> None:
    random = torch.Generator().manual_seed(1)
    audio, classes = (3 * torch.randn(n, 8, generator=random) for n in (7, 5))
    distances = torch.cdist(classes, classes).square()
    variance = distances.sum() / (5 * 4) / (4 * math.log(5))
    expected = (-torch.cdist(audio, classes).square() / (2 * variance)).log_softmax(-1)
    torch.testing.assert_close(class_log_probs(audio, classes), expected, atol=1e-4, rtol=1e-4)


def test_reduced_precision_does_not_reach_the_probabilities() -> None:
    random = torch.Generator().manual_seed(1)
    audio, classes = (torch.randn(n, 8, generator=random) for n in (7, 5))
    expected = class_log_probs(audio, classes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(class_log_probs(audio, classes), expected)


def test_classes_are_the_embeddings_of_characters_and_of_audio(
    model: Model, processor: Qwen2AudioProcessor
) -> None:
    tokenizer = processor.tokenizer
    assert len(tokenizer.encode("д")) == 2
    table = model.model.language_model.embed_tokens.weight
    classes = class_embeddings(model, Alphabet.of("aд", tokenizer))
    assert torch.equal(classes[0], table[tokenizer.convert_tokens_to_ids(AUDIO)])
    assert torch.equal(classes[1], table[tokenizer.encode("a")[0]])
    torch.testing.assert_close(classes[2], table[tokenizer.encode("д")].mean(0))
    assert not classes.requires_grad


def test_the_loss_of_clips_does_not_depend_on_their_company(
    model: Model, processor: Qwen2AudioProcessor
) -> None:
    alphabet = Alphabet.of(" abc", processor.tokenizer)
    names = ("odd", "even", "even too")
    texts = ("a cab", "bb", "c")

    def loss(some: slice) -> Tensor:
        audio, counts = encode_audio(model, [FEATURES[name] for name in names[some]])
        log_probs = class_log_probs(audio, class_embeddings(model, alphabet))
        return ctc_loss(log_probs, counts, [alphabet.encode(text) for text in texts[some]])

    whole = loss(slice(0, 3))
    parts = loss(slice(0, 1)) + loss(slice(1, 3))
    torch.testing.assert_close(whole, parts, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("Una  orella de mar.", "una orella de mar"),
        ("Αβαλόνη - το αυτί", "αβαλόνη το αυτί"),
        ("C'est 10 %!", "c est 10"),
        ("Cafe\u0301", "café"),
        ("?!", ""),
    ],
)
def test_only_what_is_heard_is_spelt(text: str, heard: str) -> None:
    assert spelling(text) == heard


@given(st.text())
def test_a_spelling_spells_itself(text: str) -> None:
    assert spelling(spelling(text)) == spelling(text)


def test_characters_outside_the_alphabet_are_left_out(processor: Qwen2AudioProcessor) -> None:
    alphabet = Alphabet.of(" ab", processor.tokenizer)
    assert alphabet.encode("B, xa!").tolist() == [3, 1, 2]
