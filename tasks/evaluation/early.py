"""Early evaluation: held-out loss and a few greedy answers while a model is still trained.

It draws no random number of the training and changes no weight: a run with it and one without it
end with the same bits.
"""

import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.records import Conversation, TaskName
from infra.storage.store import Store
from model.batch import collate
from model.forward import cross_entropy
from model.generate import GenerationSettings
from model.sequence import render_example
from tasks.corpus.artifact import read_suites
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader, DamagedClipError
from tasks.evaluation.answerer import Answerer
from tasks.training.held_out import Examiner, HeldOutReport

_log = logging.getLogger(__name__)
_EXAMPLES = 16
_ANSWERS = 6
_BATCH = 8
_MAX_NEW_TOKENS = 32


@dataclass(frozen=True)
class EarlyEvaluation:
    """Some held-out conversations of a corpus."""

    corpus: Store
    conversations: tuple[Conversation, ...]
    letters: tuple[TaskName, ...] = ()
    """Tasks whose answers are learnt letter by letter."""

    def __call__(self, processor: Qwen2AudioProcessor) -> Examiner | None:
        """Open the corpus on a worker; report and leave out conversations with a damaged clip."""
        reader = ClipReader(self.corpus, CorpusIndex(self.corpus))
        asked = [c for c in self.conversations if _can_be_heard(c, reader)]
        if not asked:
            _log.warning("early evaluation has nothing to ask: the suites have no such question")
            return None

        def examine(model: Qwen2AudioForConditionalGeneration) -> HeldOutReport:
            was_training = model.training
            model.eval()
            try:
                answerer = Answerer(model, processor, reader)
                return HeldOutReport(
                    held_out_loss(answerer, asked, self.letters),
                    _answers(answerer, asked[:_ANSWERS]),
                )
            finally:
                model.train(was_training)

        return examine


def pick_held_out(
    corpus: Store,
    seed: int,
    letters: tuple[TaskName, ...],
    completions_of: frozenset[str] = frozenset(),
) -> EarlyEvaluation:
    """Draw a few questions of the corpus's suites, which are its test split; the same for a seed.

    Args:
        letters: tasks whose answers are learnt letter by letter.
        completions_of: tasks that the model is trained on as completions, where it knows nothing
            else yet; none for a model that is asked everything.
    """
    asked = [
        item.conversation
        for _, suite in read_suites(corpus)
        for item in suite
        if not completions_of
        or (item.conversation.format == "completion" and item.conversation.task in completions_of)
    ]
    draw = random.Random(f"held out {seed}")
    drawn = tuple(draw.sample(asked, min(_EXAMPLES, len(asked))))
    return EarlyEvaluation(corpus, drawn, letters)


def _can_be_heard(conversation: Conversation, reader: ClipReader) -> bool:
    try:
        for clip in conversation.clip_ids:
            reader.audio(clip)
    except DamagedClipError as damage:
        _log.warning("early evaluation leaves out %s: %s", conversation.id, damage)
        return False
    return True


@torch.no_grad()
def held_out_loss(
    answerer: Answerer, conversations: Sequence[Conversation], letters: Collection[TaskName]
) -> float:
    """Compute the mean cross-entropy of all answer tokens, without label smoothing, in nats."""
    total, labels = 0.0, 0
    for start in range(0, len(conversations), _BATCH):
        some = conversations[start : start + _BATCH]
        features, tokens = answerer.hear(some)
        sequences = [render_example(c, answerer.processor.tokenizer, tokens, letters) for c in some]
        batch = collate(sequences, features)
        total += float(cross_entropy(answerer.model, batch, 0.0))
        labels += batch.num_labels
    return total / labels


def _answers(answerer: Answerer, conversations: Sequence[Conversation]) -> list[dict[str, str]]:
    settings = GenerationSettings(max_new_tokens=_MAX_NEW_TOKENS)
    return [
        {
            "id": conversation.id,
            "question": next(t.text for t in reversed(conversation.turns) if t.role == "user"),
            "reference": conversation.answer,
            "answer": answer,
        }
        for conversation, (answer,) in zip(
            conversations, answerer.answer(conversations, settings), strict=True
        )
    ]
