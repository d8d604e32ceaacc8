"""Rankers score sampled answers, so that pairs can be formed: a rule, a judge, or people."""

from typing import Protocol

import jiwer

from data_contracts.answer_records import EvaluationItem
from data_contracts.records import Conversation
from tasks.conversations.task_table import CONVERSATION, TaskTable
from tasks.evaluation.metrics.normalisation import normalise_label
from tasks.evaluation.metrics.translation import BLEU, CHRF


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


class TextOverlap:
    """Scores how much of a free text agrees with the reference answer: its chrF."""

    name = CHRF.name

    def scores(self, conversation: Conversation, answers: list[str]) -> list[float]:
        """Return one score in [0, 1] for each answer, in order."""
        item = EvaluationItem(conversation=conversation, suite="prompts", metric=self.name)
        return [CHRF.score(item, answer) / 100 for answer in answers]


def ranker_of(task: str, tasks: TaskTable) -> Ranker:
    """Return the ranker that fits the metric of a task of dialogues.

    Free texts are ranked by chrF, also where BLEU measures them: of a short sentence it tells too
    little. Transcripts, labels, choices and dialogues of several tasks are ranked by
    `AnswerAccuracy`.
    """
    metric = tasks[task].metric if task in tasks else ""
    if task == CONVERSATION or metric in (BLEU.name, CHRF.name):
        return TextOverlap()
    return AnswerAccuracy()


def _accuracy(reference: str, answer: str) -> float:
    errors = (float(jiwer.wer(reference, answer)), float(jiwer.cer(reference, answer)))
    return sum(max(0.0, 1.0 - error) for error in errors) / len(errors)
