"""Trains on preference pairs: direct preference optimisation (Rafailov et al. 2023, eq. 7)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.answer_records import PreferencePair
from infra.storage.store import Store
from model.audio import num_audio_tokens
from model.batch import AnswerPair, Batch, collate_pairs
from model.forward import pair_log_probs
from model.losses import dpo_loss
from model.sequence import render_answer, render_prompt
from tasks.corpus.features import Waveforms, hear
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader
from tasks.evaluation.answerer import Answerer
from tasks.objectives.supervised import batch_counts, source_of
from tasks.training.objective import ExampleSource, MicroBatch, StepOutcome
from tasks.training.split import Load

_PAIRS_AT_ONCE = 32


@dataclass(frozen=True)
class DpoFactory:
    """Builds the DPO objective on a worker."""

    corpus: Store
    pairs: tuple[PreferencePair, ...]
    reference: dict[str, tuple[float, float]]
    """Pair id -> the reference model's log-probabilities of chosen and rejected."""
    beta: float

    def __call__(self, processor: Qwen2AudioProcessor) -> "DpoObjective":
        """Open the corpus and keep what the objective needs."""
        return DpoObjective(self, ClipReader(self.corpus, CorpusIndex(self.corpus)), processor)


class DpoObjective:
    """Computes the published loss over preference pairs.

    Audio is not augmented: the stored log-probabilities of the reference model are exact only for
    the same features.
    """

    def __init__(
        self, parts: DpoFactory, reader: ClipReader, processor: Qwen2AudioProcessor
    ) -> None:
        self._parts = parts
        self._reader = reader
        self._processor = processor

    def loads(self, examples: Sequence[int]) -> list[Load]:
        """Return the load of each pair's tree: the prompt once, and both answers."""
        return [self._load(self._parts.pairs[i]) for i in examples]

    def _load(self, pair: PreferencePair) -> Load:
        tokenizer = self._processor.tokenizer
        tokens = {
            clip: num_audio_tokens(self._reader.row(clip).num_samples)
            for clip in pair.prompt.clip_ids
        }
        prompt = render_prompt(pair.prompt, tokenizer, tokens)
        answers = [
            render_answer(text, pair.prompt, tokenizer) for text in (pair.chosen, pair.rejected)
        ]
        return Load(len(prompt) + sum(map(len, answers)), len(prompt.audio_positions))

    def sources(self, examples: Sequence[int]) -> list[ExampleSource]:
        """Return where the pairs' prompts come from."""
        pairs = [self._parts.pairs[i] for i in examples]
        prompts = (pair.prompt.model_copy(update={"id": pair.id}) for pair in pairs)
        return [source_of(prompt, lambda clip: self._reader.row(clip).shard) for prompt in prompts]

    def prepare(self, examples: Sequence[int], _step: int) -> MicroBatch:
        """Read and pack pairs, whose loss is a mean over them; nothing in it is random."""
        pairs = [self._parts.pairs[i] for i in examples]
        batch = collate_preferences(pairs, self._reader, self._processor)
        return MicroBatch(tuple(examples), batch, len(pairs))

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, prepared: MicroBatch
    ) -> StepOutcome:
        """Sum the loss over some pairs, with reward metrics."""
        chosen, rejected = pair_log_probs(model, prepared.batch)
        stored = [self._parts.reference[self._parts.pairs[i].id] for i in prepared.examples]
        reference = torch.tensor(stored, device=chosen.device)
        result = dpo_loss(chosen, rejected, reference[:, 0], reference[:, 1], self._parts.beta)
        margins = result.chosen_rewards - result.rejected_rewards
        counts = dict(batch_counts(model, prepared.batch)) | {
            "reward_accuracy": float((margins > 0).sum()),
            "reward_margin": float(margins.sum()),
            "chosen_reward": float(result.chosen_rewards.sum()),
        }
        return StepOutcome(result.losses.sum(), counts)


@torch.inference_mode()
def score_pairs(
    answerer: Answerer, pairs: Sequence[PreferencePair]
) -> dict[str, tuple[float, float]]:
    """Compute log pi(y_w|x) and log pi(y_l|x) of each pair, in nats, by its id."""
    scores: dict[str, tuple[float, float]] = {}
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        batch = collate_preferences(some, answerer.reader, answerer.processor)
        chosen, rejected = pair_log_probs(answerer.model, batch)
        for pair, *values in zip(some, chosen.tolist(), rejected.tolist(), strict=True):
            scores[pair.id] = (values[0], values[1])
    return scores


def collate_preferences(
    pairs: Sequence[PreferencePair], reader: Waveforms, processor: Qwen2AudioProcessor
) -> Batch:
    """Pack pairs as trees [prompt | chosen | rejected]."""
    tokenizer = processor.tokenizer
    prompts = [pair.prompt for pair in pairs]
    features, tokens = hear(reader, prompts, processor.feature_extractor.feature_size)
    return collate_pairs(
        [
            AnswerPair(
                prompt=render_prompt(pair.prompt, tokenizer, tokens),
                chosen=render_answer(pair.chosen, pair.prompt, tokenizer),
                rejected=render_answer(pair.rejected, pair.prompt, tokenizer),
            )
            for pair in pairs
        ],
        features,
    )
