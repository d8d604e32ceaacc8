"""From an answer to a number: text normalisation and the metrics of the evaluation.

Conventions are those of the published Qwen2-Audio evaluation: `<|...|>` tags are stripped,
transcripts pass Whisper's normalisers, corpus WER is total edits over total reference length,
translation is sacreBLEU, classification is the accuracy of the generated label.

Every metric is a closed formula over *sums* of per-item numbers, its sufficient statistics. So a
bootstrap resample is one weighted sum of rows; no text is ever scored twice.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import jiwer
import numpy as np
import numpy.typing as npt
from sacrebleu.metrics import BLEU, CHRF
from transformers.models.whisper.english_normalizer import (
    BasicTextNormalizer,
    EnglishTextNormalizer,
)

from data_contracts.records import EvaluationItem

Array = npt.NDArray[np.float64]

LABEL_METRICS = frozenset({"accuracy", "balanced_accuracy"})
"""Metrics of one label an item; a single item scores 0 or 1 in both."""

_TAG = re.compile(r"<\|[^|]*\|>")
_LANGUAGE_TAG = re.compile(r"<\|([a-z]{2,3})\|>")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA_OR_HANGUL = re.compile("[\u3040-\u30ff\uac00-\ud7af]")


@dataclass(frozen=True)
class Metric:
    """A corpus metric that depends on its items only through a sum.

    Attributes:
        name: as the report prints it.
        higher_is_better: False for error rates.
        sufficient: (item, hypothesis) -> k numbers, the item's row.
        from_totals: rows summed over a corpus, [..., k] -> scores, [...]. Error rates and
            accuracies are fractions, BLEU and chrF lie in [0, 100].
    """

    name: str
    higher_is_better: bool
    sufficient: Callable[[EvaluationItem, str], tuple[float, ...]]
    from_totals: Callable[[Array], Array]

    def statistics(self, items: Sequence[EvaluationItem], hypotheses: Sequence[str]) -> Array:
        """The rows of all items, [n, k]; one hypothesis an item, in the same order."""
        rows = [self.sufficient(*pair) for pair in zip(items, hypotheses, strict=True)]
        return np.array(rows, dtype=np.float64)

    def aggregate(self, stats: Array) -> float:
        """The corpus score of the rows `stats` [n, k]."""
        return float(self.from_totals(stats.sum(axis=0)))


def metric_named(name: str, classes: tuple[str, ...] = ()) -> Metric:
    """The metric that a report or an `EvaluationItem` calls `name`.

    `classes` is the closed set of answers; "balanced_accuracy" alone needs it.

    Raises:
        ValueError: where no metric has this name, or balanced accuracy gets no classes.
    """
    if name == "balanced_accuracy":
        if not classes:
            raise ValueError(
                "balanced_accuracy got no classes: recall is averaged over a closed set. "
                "Give the suite's items `choices`, or report plain accuracy."
            )
        distinct = tuple(dict.fromkeys(normalise_label(label) for label in classes))
        return Metric(name, True, partial(_recall_row, classes=distinct), _mean_recall)
    if name not in _METRICS:
        raise ValueError(
            f"no metric is called {name!r}: use one of {', '.join(_METRICS)} or balanced_accuracy"
        )
    return _METRICS[name]


def score_item(item: EvaluationItem, hypothesis: str) -> float:
    """The score of one answer in its suite's metric, in the units of `Metric.from_totals`.

    BLEU of one sentence leaves out the n-gram orders that a short sentence can't have
    (sacrebleu's effective order); without it every answer below four words would score 0.
    """
    if item.metric == "bleu":
        reference, answer = _translation_pair(item, hypothesis)
        scorer = BLEU(tokenize=_bleu_tokenizer(reference), effective_order=True)
        return float(scorer.sentence_score(answer, [reference]).score)
    metric = metric_named("accuracy" if item.metric in LABEL_METRICS else item.metric)
    return metric.aggregate(metric.statistics([item], [hypothesis]))


def strip_tags(text: str) -> str:
    """`text` without `<|...|>` tags and without space around it."""
    return _TAG.sub("", text).strip()


def normalise_label(text: str) -> str:
    """The form in which labels are compared: no tags, case, punctuation or doubled spaces."""
    return str(_basic()(strip_tags(text))).strip()


def normalise_transcript(item: EvaluationItem, text: str) -> str:
    """`text` as the error rates see it: units of comparison separated by single spaces.

    English (a `<|en|>` tag in the prompt or in the reference) passes Whisper's English normaliser,
    with its contractions and numbers but without its table of British spellings, which belongs
    to a checkpoint; all else passes Whisper's basic one. Digit strings stay as they are: the
    English normaliser would join "3 7 1". A text is compared character by character where its
    reference is written in Han, kana or Hangul.
    """
    text = strip_tags(text)
    if item.conversation.task == "digits":
        return " ".join(text.split())
    tag = _LANGUAGE_TAG.search(" ".join(turn.text for turn in item.conversation.turns))
    normaliser = _english() if tag is not None and tag[1] == "en" else _basic()
    words = str(normaliser(text)).split()
    return " ".join("".join(words) if _is_written_by_character(item) else words)


def _word_edits(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    reference = normalise_transcript(item, item.conversation.answer)
    return _edits(reference, normalise_transcript(item, hypothesis))


def _character_edits(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    pair = (item.conversation.answer, hypothesis)
    characters = [normalise_transcript(item, text).replace(" ", "") for text in pair]
    return _edits(*(" ".join(text) for text in characters))


def _edits(reference: str, hypothesis: str) -> tuple[float, float]:
    found = jiwer.process_words(reference, hypothesis)
    return (
        float(found.substitutions + found.deletions + found.insertions),
        float(len(reference.split())),
    )


def _is_right(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    right = normalise_label(hypothesis) == normalise_label(item.conversation.answer)
    return (float(right), 1.0)


def _is_chosen(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Right and readable answers: what can't be read is left out (AIR-Bench, score_foundation)."""
    letter, right = _letter(hypothesis), _letter(item.conversation.answer)
    if right is None:
        raise ValueError(
            f"item {item.conversation.id!r} has the reference {item.conversation.answer!r}, which "
            "names none of the choices A to D. Write it as 'B. a dog'."
        )
    return (float(letter == right), float(letter is not None))


def _is_readable(_: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    return (float(_letter(hypothesis) is not None), 1.0)


def _letter(answer: str) -> str | None:
    """The first character if it is a choice's, else the one before the last ("It is B.")."""
    text = strip_tags(answer).replace("\n", "")
    return next((letter for letter in (text[:1], text[-2:-1]) if letter in set("ABCD")), None)


def _is_of_right_mode(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    modes_answers = {normalise_label(answer) for answer in item.choices}
    if normalise_label(item.conversation.answer) not in modes_answers:
        raise ValueError(
            f"item {item.conversation.id!r} has the reference {item.conversation.answer!r}, which "
            f"is not among its {len(item.choices)} choices: dual_mode asks whether the answer is "
            "one of its mode's answers. List all of them in `choices`."
        )
    return (float(normalise_label(hypothesis) in modes_answers), 1.0)


def _recall_row(
    item: EvaluationItem, hypothesis: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """Right answers in each class, then references in each class: 2 * len(classes) numbers."""
    label = normalise_label(item.conversation.answer)
    if label not in classes:
        raise ValueError(
            f"item {item.conversation.id!r} has the reference {item.conversation.answer!r}, which "
            f"is not one of its suite's classes {classes}. Correct the item or its choices."
        )
    right, _ = _is_right(item, hypothesis)
    counts = [float(label == name) for name in classes]
    return (*(right * count for count in counts), *counts)


def _translation_pair(item: EvaluationItem, hypothesis: str) -> tuple[str, str]:
    return strip_tags(item.conversation.answer), strip_tags(hypothesis)


def _bleu_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Lengths of answer and reference, matching 1-4-grams, all 1-4-grams: 10 numbers."""
    reference, answer = _translation_pair(item, hypothesis)
    scorer = BLEU(tokenize=_bleu_tokenizer(reference), force=True)
    return tuple(scorer._extract_corpus_statistics([answer], [[reference]])[0])


def _chrf_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Answer, reference and matching n-grams for 6 character orders: 18 numbers."""
    reference, answer = _translation_pair(item, hypothesis)
    return tuple(CHRF()._extract_corpus_statistics([answer], [[reference]])[0])


def _sacrebleu_scores(totals: Array, scorer: BLEU | CHRF) -> Array:
    rows = totals.reshape(-1, totals.shape[-1]).astype(int).tolist()
    scores = [scorer._compute_score_from_stats(row).score for row in rows]
    return np.array(scores).reshape(totals.shape[:-1])


def _ratio(totals: Array) -> Array:
    """First number over the second. As in jiwer, edits against nothing count as one word each."""
    return np.asarray(totals[..., 0] / np.maximum(totals[..., 1], 1.0))


def _mean_recall(totals: Array) -> Array:
    """Recall averaged over the classes that the references hold."""
    right, count = np.split(totals, 2, axis=-1)
    recall = right / np.maximum(count, 1.0)
    return np.asarray(recall.sum(axis=-1) / np.maximum((count > 0).sum(axis=-1), 1))


def _bleu_tokenizer(reference: str) -> str:
    is_mandarin = _HAN.search(reference) and not _KANA_OR_HANGUL.search(reference)
    return "zh" if is_mandarin else "13a"


def _is_written_by_character(item: EvaluationItem) -> bool:
    """More than half of the reference's letters belong to a script without (or with long) words."""
    letters = [letter for letter in strip_tags(item.conversation.answer) if letter.isalpha()]
    wide = [letter for letter in letters if _HAN.match(letter) or _KANA_OR_HANGUL.match(letter)]
    return 2 * len(wide) > len(letters)


@cache
def _english() -> EnglishTextNormalizer:
    return EnglishTextNormalizer({})


@cache
def _basic() -> BasicTextNormalizer:
    return BasicTextNormalizer()


_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("wer", False, _word_edits, _ratio),
        Metric("cer", False, _character_edits, _ratio),
        Metric("bleu", True, _bleu_row, partial(_sacrebleu_scores, scorer=BLEU())),
        Metric("chrf", True, _chrf_row, partial(_sacrebleu_scores, scorer=CHRF())),
        Metric("accuracy", True, _is_right, _ratio),
        Metric("choice", True, _is_chosen, _ratio),
        Metric("readable", True, _is_readable, _ratio),
        Metric("dual_mode", True, _is_of_right_mode, _ratio),
    )
}
