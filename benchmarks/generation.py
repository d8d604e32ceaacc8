"""Rows 8 and 9: several sampled answers to a prompt."""

from collections.abc import Callable, Iterator

import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.harness import Condition, Row, Work, race
from benchmarks.texts import answers, prompt_of
from benchmarks.workload import PAD, SMALL_AUDIO, SMALL_TEXT, build, clips, padded_features
from model.features import log_mel_spectrogram
from model.generate import GenerationSettings, Sample, generate

_PROMPTS = 8
_NEW_TOKENS = 48
_VOCAB = SMALL_TEXT["vocab_size"]
_FIRST_TEXT = 8
_STOPS = frozenset(range(_FIRST_TEXT, _FIRST_TEXT + _VOCAB // 16))
"""Random weights draw tokens almost evenly: answers of 16 tokens on average, 48 at most."""
_GREEDY_TOKENS = 12


def prefill() -> Iterator[Row]:
    """Everything before the second token: the reference reads a prompt K times."""
    work = _Sampling()
    for k in (4, 8):
        ours, reference = work.ours(k, 1, frozenset()), work.reference(k, 1, frozenset())
        yield Row(
            name=f"prefill, K={k}",
            work=f"{_PROMPTS} prompts",
            race=race(ours, reference),
            goal=2.0 * k,
            stretch=2.2 * k,
            conditions=work.exactness(k),
        )


def decoding() -> Iterator[Row]:
    """Whole answers, of fixed and of natural length."""
    work, k = _Sampling(), 4
    for name, stops, goal, stretch in (
        (f"{_NEW_TOKENS} new tokens, K={k}", frozenset(), 2.0, 2.6),
        (f"finished rows dropped, K={k}", _STOPS, 4.0, 5.5),
    ):
        ours = work.ours(k, _NEW_TOKENS, stops)
        yield Row(
            name=name,
            work=f"{_PROMPTS} prompts",
            race=race(ours, work.reference(k, _NEW_TOKENS, stops)),
            goal=goal,
            stretch=stretch,
            conditions=work.exactness(k),
        )


class _Sampling:
    """The same prompts for both sides."""

    def __init__(self) -> None:
        self._models = build(SMALL_AUDIO, SMALL_TEXT)
        self._models.ours.eval()
        self._models.reference.eval()
        waveforms = clips(_PROMPTS)
        num_mel_bins = SMALL_AUDIO["num_mel_bins"]
        mel = log_mel_spectrogram(waveforms, num_mel_bins)
        self._features = {str(number): features for number, features in enumerate(mel)}
        self._prompts = [prompt_of(sequence) for sequence in answers(_PROMPTS, _VOCAB)]
        ids = [torch.from_numpy(prompt.input_ids) for prompt in self._prompts]
        self._inputs = {
            "input_ids": pad_sequence(
                ids, batch_first=True, padding_value=PAD, padding_side="left"
            ),
            "attention_mask": pad_sequence(
                [torch.ones_like(row) for row in ids], batch_first=True, padding_side="left"
            ),
            **padded_features(waveforms, num_mel_bins),
        }

    def ours(
        self, k: int, new_tokens: int, stops: frozenset[int], temperature: float = 1.0
    ) -> Callable[[], list[list[Sample]]]:
        settings = GenerationSettings(
            max_new_tokens=new_tokens, num_samples=k, temperature=temperature
        )
        names = [str(number) for number in range(_PROMPTS)]
        return lambda: generate(
            self._models.ours, self._prompts, self._features, settings, stops, names
        )

    def reference(self, k: int, new_tokens: int, stops: frozenset[int]) -> Work:
        return lambda: self._models.reference.generate(
            **self._inputs,
            max_new_tokens=new_tokens,
            do_sample=True,
            top_k=0,
            num_return_sequences=k,
            eos_token_id=sorted(stops) or None,
            pad_token_id=PAD,
        )

    def exactness(self, k: int) -> tuple[Condition, ...]:
        """Greedy answers are the reference's; a sampled one is the same in any company."""
        found = self._models.reference.generate(
            **self._inputs,
            max_new_tokens=_GREEDY_TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=PAD,
        )
        expected = found[:, -_GREEDY_TOKENS:].tolist()
        greedy = self.ours(1, _GREEDY_TOKENS, frozenset(), temperature=0.0)()
        unequal = sum(
            list(sample.token_ids) != row for (sample,), row in zip(greedy, expected, strict=True)
        )
        together = self.ours(k, _GREEDY_TOKENS, _STOPS)()
        settings = GenerationSettings(max_new_tokens=_GREEDY_TOKENS, num_samples=k, temperature=1.0)
        changed = 0
        for number, prompt in enumerate(self._prompts):
            (alone,) = generate(
                self._models.ours, [prompt], self._features, settings, _STOPS, [str(number)]
            )
            changed += [s.token_ids for s in alone] != [s.token_ids for s in together[number]]
        return (
            Condition("greedy answers unequal", float(unequal), "<=", 0.0),
            Condition("samples changed by company", float(changed), "<=", 0.0),
        )
