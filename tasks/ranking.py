"""Who prefers: the rule that scores sampled answers. Judges and people implement the same."""

from typing import Protocol

import jiwer

from data_contracts.records import Conversation
from tasks.scoring import normalise_label


class Ranker(Protocol):
    """Scores answers to one prompt on a common scale; higher is better."""

    name: str

    def scores(self, conversation: Conversation, answers: list[str]) -> list[float]:
        """One score an answer, in order."""
        ...


class WordAccuracy:
    """Agreement with the reference answer: 1 - WER, at least 0, on normalised words.

    Graded, so that "The digits are 3 7." beats an answer in the wrong mode.
    """

    name = "word_accuracy"

    def scores(self, conversation: Conversation, answers: list[str]) -> list[float]:
        """One score in [0, 1] an answer."""
        reference = normalise_label(conversation.answer)
        return [
            max(0.0, 1.0 - float(jiwer.wer(reference, normalise_label(answer))))
            for answer in answers
        ]
