"""Translation metrics: BLEU (Papineni et al. 2002) and chrF2 (Popovic 2015), as sacreBLEU's.

sacreBLEU has no public way from sums of statistics to chrF, so its formula is written out here.
"""

from collections import Counter

import numpy as np
import sacrebleu.metrics

from data_contracts.answer_records import EvaluationItem
from tasks.evaluation.metrics.metric import POINTS, Array, Metric
from tasks.evaluation.metrics.normalisation import is_mandarin, strip_tags

_WORD_ORDER = 4
"""Longest word n-gram of BLEU."""
_CHARACTER_ORDER = 6
"""Longest character n-gram of chrF."""
_RECALL_WEIGHT = 4.0
"""beta squared of chrF2: recall counts twice (beta) as much as precision."""


def _bleu_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Lengths of answer and reference, matching 1-4-grams, all 1-4-grams: 10 numbers."""
    reference, answer = _texts(item, hypothesis)
    # `force` keeps sacreBLEU from warning of answers that look tokenised.
    scorer = sacrebleu.metrics.BLEU(tokenize=_tokenizer(reference), force=True)
    score = scorer.corpus_score([answer], [[reference]])
    return (score.sys_len, score.ref_len, *score.counts, *score.totals)


def _bleu(totals: Array) -> Array:
    rows = totals.reshape(-1, totals.shape[-1]).astype(int).tolist()
    scores = [
        sacrebleu.metrics.BLEU.compute_bleu(
            correct=row[2 : 2 + _WORD_ORDER],
            total=row[2 + _WORD_ORDER :],
            sys_len=row[0],
            ref_len=row[1],
            smooth_method="exp",  # sacreBLEU's default
        ).score
        for row in rows
    ]
    return np.array(scores).reshape(totals.shape[:-1])


def _sentence_bleu(item: EvaluationItem, hypothesis: str) -> float:
    """BLEU without the n-gram orders that a short sentence can't have (effective order).

    With them every answer below four words would score 0.
    """
    reference, answer = _texts(item, hypothesis)
    scorer = sacrebleu.metrics.BLEU(tokenize=_tokenizer(reference), effective_order=True)
    return float(scorer.sentence_score(answer, [reference]).score)


def _chrf_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Answer, reference and matching n-grams for 6 character orders: 18 numbers."""
    reference, answer = ("".join(text.split()) for text in _texts(item, hypothesis))
    row: list[int] = []
    for order in range(1, _CHARACTER_ORDER + 1):
        theirs, ours = _ngrams(reference, order), _ngrams(answer, order)
        # What no reference is long enough for counts neither for nor against an answer.
        row += [ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()]
    return tuple(map(float, row))


def _chrf(totals: Array) -> Array:
    """F score of precision and recall, each averaged over the orders that both sides have."""
    answer, reference, match = (totals[..., start::3] for start in range(3))
    counted = (answer > 0) & (reference > 0)
    num_orders = np.maximum(counted.sum(axis=-1), 1)
    precision, recall = (
        np.where(counted, match / np.maximum(count, 1.0), 0.0).sum(axis=-1) / num_orders
        for count in (answer, reference)
    )
    weighted = _RECALL_WEIGHT * precision + recall
    score = (1 + _RECALL_WEIGHT) * precision * recall / np.where(weighted > 0, weighted, 1.0)
    return np.asarray(100 * score)


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _texts(item: EvaluationItem, hypothesis: str) -> tuple[str, str]:
    """Reference and answer as they are compared."""
    return strip_tags(item.conversation.answer), strip_tags(hypothesis)


def _tokenizer(reference: str) -> str:
    return "zh" if is_mandarin(reference) else "13a"


BLEU = Metric(
    "bleu",
    "BLEU",
    higher_is_better=True,
    row=_bleu_row,
    from_totals=_bleu,
    item_score=_sentence_bleu,
    scale=POINTS,
    secondary=("chrf",),
)
CHRF = Metric("chrf", "chrF", higher_is_better=True, row=_chrf_row, from_totals=_chrf, scale=POINTS)
