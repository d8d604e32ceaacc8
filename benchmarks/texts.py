"""Token sequences as long as those of speech recognition and of question answering."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.workload import AUDIO, FIRST_TEXT, PAD, clip_samples, log_normal
from model.audio import SAMPLE_RATE, num_audio_tokens
from model.batch import AnswerPair
from model.sequence import TokenSequence

IGNORED = -100
"""A label that the reference leaves out of its loss."""
_TOKENS_PER_SECOND = 3.2
"""Of a transcript: 150 words a minute, 1.3 tokens a word."""

_QUESTION, _ANSWER = (14, 0.5), (24, 0.7)
"""Median and deviation of the logarithm, in tokens."""


def transcripts(count: int, vocab_size: int) -> list[TokenSequence]:
    """Completions: clip, a prompt of a dozen tokens, the words that were spoken."""
    samples = clip_samples(count)
    return [
        _sequence(
            number,
            vocab_size,
            before=1,
            audio=num_audio_tokens(length),
            after=12,
            answer=1 + round(_TOKENS_PER_SECOND * length / SAMPLE_RATE),
        )
        for number, length in enumerate(samples)
    ]


def answers(count: int, vocab_size: int) -> list[TokenSequence]:
    """Chats: system turn, clip and question (median 14 tokens), answer (median 24, mean 30)."""
    questions = log_normal(count, *_QUESTION, seed=1)
    lengths = log_normal(count, *_ANSWER, seed=2)
    return [
        _sequence(
            number,
            vocab_size,
            before=24,
            audio=num_audio_tokens(samples),
            after=8 + round(question),
            answer=1 + round(length),
        )
        for number, (samples, question, length) in enumerate(
            zip(clip_samples(count), questions, lengths, strict=True)
        )
    ]


def preferences(count: int, vocab_size: int) -> list[AnswerPair]:
    """The prompts and answers of `answers`, each with another answer of the same distribution."""
    lengths = log_normal(count, *_ANSWER, seed=3)
    pairs = []
    for number, (sequence, length) in enumerate(
        zip(answers(count, vocab_size), lengths, strict=True)
    ):
        chosen = tuple(sequence.input_ids[sequence.is_label].tolist())
        rejected = random_text(1 + round(length), vocab_size, seed=count + number)
        pairs.append(AnswerPair(prompt_of(sequence), chosen, tuple(rejected.tolist())))
    return pairs


def prompt_of(sequence: TokenSequence) -> TokenSequence:
    """What stands before the answer."""
    is_label = sequence.is_label
    return replace(sequence, input_ids=sequence.input_ids[~is_label], is_label=is_label[~is_label])


def continued(prompt: TokenSequence, answer: Sequence[int]) -> TokenSequence:
    """The prompt with an answer behind it."""
    ids = np.concatenate([prompt.input_ids, np.array(answer, np.int64)])
    return replace(prompt, input_ids=ids, is_label=np.arange(len(ids)) >= len(prompt))


def _sequence(
    number: int, vocab_size: int, before: int, audio: int, after: int, answer: int
) -> TokenSequence:
    """Random text around the clip `str(number)`."""
    text = random_text(before + audio + after + answer, vocab_size, seed=number)
    text[before : before + audio] = AUDIO
    return TokenSequence(
        input_ids=text,
        is_label=np.arange(len(text)) >= len(text) - answer,
        clip_ids=(str(number),),
        tokens_per_clip=(audio,),
        audio_positions=np.arange(before, before + audio),
    )


def random_text(length: int, vocab_size: int, seed: int) -> NDArray[np.int64]:
    """Token ids without control tokens."""
    return np.random.default_rng(seed).integers(FIRST_TEXT, vocab_size, length)


def without_audio(sequence: TokenSequence) -> TokenSequence:
    """As long, but text alone."""
    ids = np.where(sequence.input_ids == AUDIO, FIRST_TEXT, sequence.input_ids)
    nowhere = np.empty(0, np.int64)
    return replace(
        sequence, input_ids=ids, clip_ids=(), tokens_per_clip=(), audio_positions=nowhere
    )


def padded(sequences: Sequence[TokenSequence]) -> dict[str, Tensor]:
    """What the reference's collator makes: rows as long as the longest, padded on the right."""
    ids = [torch.from_numpy(sequence.input_ids) for sequence in sequences]
    labels = [
        row.where(torch.from_numpy(sequence.is_label), IGNORED)
        for row, sequence in zip(ids, sequences, strict=True)
    ]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=PAD),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }
