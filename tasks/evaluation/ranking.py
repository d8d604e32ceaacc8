"""Rankers score sampled answers, so that pairs can be formed: a rule, a judge, or people."""

from typing import Protocol

import jiwer

from data_contracts.records import Conversation
from tasks.evaluation.metrics.normalisation import normalise_label


class Ranker(Protocol):
    """Whoever scores the answers to one prompt on a common scale; higher is better."""

    name: str

    def scores(self, conversation: Conversation, answers: list[str]) -> list[float]:
        """Return one score for each answer, in order."""
        ...


class AnswerAccuracy:
    """Scores agreement with the reference answer: the mean of 1 - WER and 1 - CER, each at least 0.

    Graded, so that "The digits are 3 7." beats an answer in the wrong mode, and a misspelt word
    beats another word.
    """

    name = "answer_accuracy"

    def scores(self, conversation: Conversation, answers: list[str]) -> list[float]:
        """Return one score in [0, 1] for each answer, in order."""
        reference = normalise_label(conversation.answer)
        return [_accuracy(reference, normalise_label(answer)) for answer in answers]


def _accuracy(reference: str, answer: str) -> float:
    errors = (float(jiwer.wer(reference, answer)), float(jiwer.cer(reference, answer)))
    return sum(max(0.0, 1.0 - error) for error in errors) / len(errors)
