"""The work that `gpu` measures: training steps of every kind, the reference's, and decoding."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from benchmarks.gauge import Gauge, Measured, largest_fitting
from benchmarks.gpu_model import Shape, build, frozen_encoder, reference_attention
from benchmarks.lean_adam import LeanAdam
from benchmarks.texts import answers, padded, preferences, prompt_of, transcripts
from benchmarks.workload import by_number, clips, padded_features
from model.batch import AnswerPair, Batch, collate, collate_pairs
from model.costs.flops import checkpointing_flops, measured_peak, step_flops
from model.features import log_mel_spectrogram
from model.forward import cross_entropy, pair_log_probs
from model.generate import GenerationSettings, generate
from model.losses import dpo_loss
from model.sequence import TokenSequence

Row: TypeAlias = dict[str, float | str | None]
Texts: TypeAlias = Callable[[int, int], list[TokenSequence]]
T = TypeVar("T")

_ASR, _QA = "ASR, all trained", "QA, encoder frozen"
_RATE = 1e-6
_BETA = 0.1
_GIB = 1 << 30


class Work:
    """One model on one device; each method measures one row."""

    def __init__(self, shape: Shape, gauge: Gauge) -> None:
        self.shape, self.gauge = shape, gauge
        self._model = build(shape, gauge.device)
        self._vocab_size = shape.text["vocab_size"]
        self._matmul = measured_peak(gauge.device, torch.bfloat16)
        self._rates: dict[str, float] = {}
        """Samples a second of our largest step, by item."""

    @property
    def num_parameters(self) -> int:
        """Of the whole model."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def transcribing(self, budget: int) -> Row:
        """Speech recognition, every weight trained."""
        return self._supervised(_ASR, transcripts, budget)

    def answering(self, budget: int) -> Row:
        """Questions about a clip, the encoder frozen."""
        with frozen_encoder(self._model):
            return self._supervised(_QA, answers, budget)

    def preferring(self, budget: int) -> Row:
        """DPO over trees, the frozen model's log-probabilities computed once before."""

        def size(pairs: list[AnswerPair]) -> int:
            return sum(len(p.prompt) + len(p.chosen) + len(p.rejected) for p in pairs)

        pairs = _largest(lambda count: preferences(count, self._vocab_size), size, budget)
        batch = collate_pairs(pairs, self._features(len(pairs)))
        with torch.no_grad():
            frozen = pair_log_probs(self._model, batch)

        def loss() -> Tensor:
            return dpo_loss(*pair_log_probs(self._model, batch), *frozen, _BETA).losses.mean()

        return self._step("DPO pairs, reference cached", batch, loss, len(pairs))

    def optimizer(self) -> Row:
        """The updates alone: no goal counts them, every step contains them."""
        with LeanAdam(self._model.parameters(), _RATE) as optimizer:

            def work() -> None:
                for parameter in self._model.parameters():
                    if parameter.requires_grad:
                        parameter.grad = torch.zeros_like(parameter)
                        optimizer.update(parameter)

            return self._row("optimizer alone", self.gauge.measure(work), None, None, None)

    def padded_transcribing(self) -> Row:
        """The reference's step at its largest batch."""
        return self._padded(_ASR, transcripts)

    def padded_answering(self) -> Row:
        """The reference's step at its largest batch, the encoder frozen."""
        with frozen_encoder(self._model):
            return self._padded(_QA, answers)

    def decoding(self, num_prompts: int, num_samples: int, temperature: float) -> Row:
        """A step of writing answers: what more tokens cost, with the prompts read already."""
        prompts = [prompt_of(sequence) for sequence in answers(num_prompts, self._vocab_size)]
        features = self._features(num_prompts)
        names = [f"prompt {i}" for i in range(num_prompts)]
        self._model.eval()

        def write(new_tokens: int) -> None:
            settings = GenerationSettings(
                max_new_tokens=new_tokens,
                num_samples=num_samples,
                temperature=temperature,
                top_p=1.0 if temperature == 0 else 0.95,
            )
            generate(self._model, prompts, features, settings, frozenset(), names)

        few, many = self.shape.new_tokens
        short, long = (self.gauge.measure(partial(write, count)) for count in (few, many))
        seconds = (long.seconds - short.seconds) / (many - few) if short and long else None
        read = self._bytes_read(prompts, num_prompts * num_samples * (few + many) / 2)
        floor = _ratio(read, self.gauge.nominal_bandwidth)
        return {
            "prompts": num_prompts,
            "samples each": num_samples,
            "temperature": temperature,
            "ms a step": 1000 * seconds if seconds else "out of memory",
            "must read, GB": read / 1e9,
            "that takes at least, ms": 1000 * floor if floor else None,
            "share of it": _ratio(floor, seconds),
            "peak GiB": _gib(long),
        }

    def _supervised(self, item: str, texts: Texts, budget: int) -> Row:
        def size(sequences: list[TokenSequence]) -> int:
            return sum(map(len, sequences))

        sequences = _largest(lambda count: texts(count, self._vocab_size), size, budget)
        batch = collate(sequences, self._features(len(sequences)))

        def loss() -> Tensor:
            return cross_entropy(self._model, batch, 0.0) / batch.num_labels

        return self._step(item, batch, loss, len(sequences))

    def _step(self, item: str, batch: Batch, loss: Callable[[], Tensor], count: int) -> Row:
        with self._learning():
            measured = self.gauge.measure(lambda: loss().backward())
        speed = None
        if measured:
            self._rates[item] = count / measured.seconds
            flops = step_flops(self._model, batch) + checkpointing_flops(self._model, batch)
            speed = flops / measured.seconds
        return self._row(item, measured, count, len(batch.input_ids), speed)

    def _row(
        self,
        item: str,
        measured: Measured | None,
        count: int | None,
        tokens: int | None,
        speed: float | None,
    ) -> Row:
        return {
            "item": item,
            "samples": count,
            "packed tokens": tokens,
            "s a step": measured.seconds if measured else "out of memory",
            "samples/s": _ratio(count, measured.seconds if measured else None),
            "executed TFLOP/s": _ratio(speed, 1e12),
            "share of nominal": _ratio(speed, self.gauge.nominal_flops),
            "share of matmul": _ratio(speed, self._matmul),
            "peak GiB": _gib(measured),
        }

    def _padded(self, item: str, texts: Texts) -> Row:
        inputs: dict[str, Tensor] = {}

        def loss() -> Tensor:
            found: Tensor = self._model(**inputs, use_cache=False).loss
            return found

        def fits(count: int) -> bool:
            inputs.update(self._padded_inputs(texts, count))
            with self._learning():
                return self.gauge.fits(lambda: loss().backward())

        with reference_attention(self._model):
            count = largest_fitting(fits, self.shape.most_padded)
            inputs.update(self._padded_inputs(texts, max(count, 1)))
            with self._learning():
                measured = self.gauge.measure(lambda: loss().backward())
        rate = _ratio(count, measured.seconds if measured else None)
        return {
            "item": item,
            "largest batch": count,
            "s a step": measured.seconds if measured else "out of memory",
            "samples/s": rate,
            "peak GiB": _gib(measured),
            "ours, times as many": _ratio(self._rates.get(item), rate),
        }

    def _padded_inputs(self, texts: Texts, count: int) -> dict[str, Tensor]:
        bins = self.shape.audio["num_mel_bins"]
        made = padded(texts(count, self._vocab_size)) | padded_features(clips(count), bins)
        made["input_features"] = made["input_features"].bfloat16()
        return {name: tensor.to(self.gauge.device) for name, tensor in made.items()}

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """Every backward pass updates the weights; none is left with a gradient."""
        self._model.train()
        with LeanAdam(self._model.parameters(), _RATE):
            yield
        self._model.zero_grad()  # what an interrupted pass left

    def _features(self, count: int) -> dict[str, Tensor]:
        waveforms = [waveform.to(self.gauge.device) for waveform in clips(count)]
        return by_number(log_mel_spectrogram(waveforms, self.shape.audio["num_mel_bins"]))

    def _bytes_read(self, prompts: Sequence[TokenSequence], new_columns: float) -> float:
        """By one step at least: the layers' and the head's weights, and all keys and values."""
        text = self.shape.text
        read = [*self._model.model.language_model.layers.parameters(), self._model.lm_head.weight]
        weights = sum(parameter.numel() for parameter in read)
        head_dim = text["hidden_size"] // text["num_attention_heads"]
        column = 2 * text["num_hidden_layers"] * text["num_key_value_heads"] * head_dim
        columns = sum(map(len, prompts)) + new_columns
        return float(torch.bfloat16.itemsize * (weights + column * columns))


def _largest(
    make: Callable[[int], list[T]], size: Callable[[list[T]], int], budget: int
) -> list[T]:
    """As many as fit into a budget, at least one."""
    count = 1
    while size(make(count + 1)) <= budget:
        count += 1
    return make(count)


def _ratio(value: float | None, by: float | None) -> float | None:
    """None where either is unknown."""
    return value / by if value is not None and by is not None else None


def _gib(measured: Measured | None) -> float | None:
    return measured.peak_bytes / _GIB if measured and measured.peak_bytes else None
