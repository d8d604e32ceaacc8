"""Metrics of one label an item: accuracy, plain and averaged over classes."""

from functools import lru_cache

import numpy as np

from data_contracts.answer_records import EvaluationItem
from tasks.evaluation.metrics.metric import RIGHT, Array, Metric, ratio
from tasks.evaluation.metrics.normalisation import normalise_label


def _right_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    return (_is_right(item, hypothesis), 1.0)


def _is_right(item: EvaluationItem, hypothesis: str) -> float:
    return float(normalise_label(hypothesis) == normalise_label(item.conversation.answer))


def _recall_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Right answers in each class, then references in each class: twice as many as classes."""
    classes = _distinct(item.choices)
    label = normalise_label(item.conversation.answer)
    if label not in classes:
        raise ValueError(
            f"item {item.conversation.id!r} has the reference {item.conversation.answer!r}, which "
            f"is not one of its suite's classes {classes}. Correct the item or its choices."
        )
    right = _is_right(item, hypothesis)
    counts = [float(label == name) for name in classes]
    return (*(right * count for count in counts), *counts)


@lru_cache(maxsize=64)  # the items of a suite share their choices
def _distinct(choices: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(normalise_label(choice) for choice in choices))


def _mean_recall(totals: Array) -> Array:
    """Recall averaged over the classes that the references hold."""
    right, count = np.split(totals, 2, axis=-1)
    recall = right / np.maximum(count, 1.0)
    return np.asarray(recall.sum(axis=-1) / np.maximum((count > 0).sum(axis=-1), 1))


ACCURACY = Metric(
    "accuracy",
    "accuracy",
    higher_is_better=True,
    row=_right_row,
    from_totals=ratio,
    verdict=RIGHT,
    is_of_labels=True,
    secondary=("balanced_accuracy",),
)
BALANCED_ACCURACY = Metric(
    "balanced_accuracy",
    "balanced accuracy",
    higher_is_better=True,
    row=_recall_row,
    from_totals=_mean_recall,
    item_score=_is_right,
    verdict=RIGHT,
    is_of_labels=True,
    needs_closed_set=True,
    secondary=("accuracy",),
)
