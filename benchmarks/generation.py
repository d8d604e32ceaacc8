"""Rows 8 and 9: several answers to every prompt."""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.harness import Condition, Row, race
from benchmarks.texts import answers, prompt_of
from benchmarks.workload import (
    FIRST_TEXT,
    PAD,
    SMALL_AUDIO,
    SMALL_TEXT,
    WIDTHS,
    build,
    by_number,
    clips,
    padded_features,
)
from model.features import log_mel_spectrogram
from model.generate import GenerationSettings, generate

_PROMPTS = 3
_NEW_TOKENS = 48
_VOCAB_SIZE = SMALL_TEXT["vocab_size"]
_NEVER: tuple[int, ...] = ()
_STOPS = range(FIRST_TEXT, FIRST_TEXT + _VOCAB_SIZE // 16)
"""A sixteenth of the vocabulary, nearly equally probable under untrained weights: answers of 15
tokens on average, some cut at 48.
"""


def prefill() -> Iterator[Row]:
    """Prompts to the first token of every sample."""
    work = _Answers()
    for num_samples in (4, 8):
        yield work.row(f"prefill, K={num_samples}", num_samples, 1, _NEVER, 2 * num_samples, 1.1)


def sampling() -> Iterator[Row]:
    """Whole answers, the prefill included; then answers that stop at different lengths."""
    work = _Answers()
    yield work.row("48 tokens, K=4", 4, _NEW_TOKENS, _NEVER, 2.0, 1.3)
    yield work.row("48 tokens, finished rows dropped, K=4", 4, _NEW_TOKENS, _STOPS, 4.0, 1.375)


class _Answers:
    """Prompts, and a model that answers them in both ways."""

    def __init__(self) -> None:
        self._models = build(SMALL_AUDIO, SMALL_TEXT)
        self._models.ours.eval()
        self._models.reference.eval()
        waveforms = clips(_PROMPTS)
        bins = SMALL_AUDIO["num_mel_bins"]
        self._features = by_number(log_mel_spectrogram(waveforms, bins))
        self._prompts = [prompt_of(sequence) for sequence in answers(_PROMPTS, _VOCAB_SIZE)]
        ids = [torch.from_numpy(prompt.input_ids) for prompt in self._prompts]
        self._inputs = padded_features(waveforms, bins) | {
            "input_ids": _pad_left(ids, PAD),
            "attention_mask": _pad_left([torch.ones_like(row) for row in ids], 0),
        }

    def row(
        self,
        name: str,
        num_samples: int,
        new_tokens: int,
        stops: Collection[int],
        goal: float,
        stretch: float,
    ) -> Row:
        """Race `num_samples` answers to every prompt; `stretch` is a factor on the goal."""
        settings = GenerationSettings(
            max_new_tokens=new_tokens, num_samples=num_samples, temperature=1.0
        )

        def ours() -> object:
            return self._ours(settings, stops, range(_PROMPTS))

        def reference() -> object:
            return self._reference(settings, stops)

        return Row(
            name=name,
            work=f"{_PROMPTS} prompts, {WIDTHS}",
            race=race(ours, reference),
            goal=goal,
            stretch=stretch * goal,
            conditions=(
                Condition("greedy differs", self._greedy(new_tokens, stops), "<=", 0),
                Condition("company matters", self._alone(settings, stops), "<=", 0),
            ),
        )

    def _ours(
        self, settings: GenerationSettings, stops: Collection[int], which: Sequence[int]
    ) -> list[list[tuple[int, ...]]]:
        samples = generate(
            self._models.ours,
            [self._prompts[i] for i in which],
            self._features,
            settings,
            frozenset(stops),
            [f"prompt {i}" for i in which],
        )
        return [[sample.token_ids for sample in several] for several in samples]

    def _reference(self, settings: GenerationSettings, stops: Collection[int]) -> Tensor:
        """Rows of new tokens; sampled from the whole distribution, or greedy."""
        sampled = {"do_sample": True, "top_k": 0, "temperature": settings.temperature}
        output: Tensor = self._models.reference.generate(
            **self._inputs,
            **(sampled if settings.temperature else {"do_sample": False}),
            num_return_sequences=settings.num_samples,
            max_new_tokens=settings.max_new_tokens,
            eos_token_id=list(stops) or None,
            pad_token_id=PAD,
        )
        return output[:, self._inputs["input_ids"].shape[1] :]

    def _greedy(self, new_tokens: int, stops: Collection[int]) -> int:
        """Greedy answers whose tokens are not those of `model.generate`."""
        settings = GenerationSettings(max_new_tokens=new_tokens)
        expected = []
        for row in self._reference(settings, stops).tolist():
            end = next((i for i, token in enumerate(row) if token in stops), len(row))
            expected.append(tuple(row[:end]))
        found = self._ours(settings, stops, range(_PROMPTS))
        return sum(mine != theirs for (mine,), theirs in zip(found, expected, strict=True))

    def _alone(self, settings: GenerationSettings, stops: Collection[int]) -> int:
        """Prompts to which the same seed gives other samples when they are answered alone."""
        together = self._ours(settings, stops, range(_PROMPTS))
        return sum(self._ours(settings, stops, [i]) != [together[i]] for i in range(_PROMPTS))


def _pad_left(rows: list[Tensor], value: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value, padding_side="left")
