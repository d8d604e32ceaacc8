"""Suites with the answers of all checkpoints, and what a suite needs so that it can be scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_contracts.answer_records import EvaluationItem, Prediction
from tasks.evaluation.metrics.metric import Metric
from tasks.evaluation.metrics.table import METRICS, MetricTable


@dataclass(frozen=True)
class Evaluation:
    """Questions and answers of several checkpoints: all that a report is made of.

    Attributes:
        title: heading of the report.
        checkpoints: their names in training order; each is compared with the one before it.
        items: the questions; their order is that of the suites in the report.
        predictions: one answer for each checkpoint and item.
        train_answers: by suite, the training answers that the majority baseline may know; a suite
            that is missing gets the most common reference.
        provenance: shown with the numbers: fingerprints, run, seed.
    """

    title: str
    checkpoints: Sequence[str]
    items: Sequence[EvaluationItem]
    predictions: Sequence[Prediction]
    train_answers: Mapping[str, Sequence[str]]
    provenance: Mapping[str, str]


@dataclass(frozen=True)
class AnsweredSuite:
    """The items of one suite with every checkpoint's answers, in the order of the items."""

    name: str
    items: list[EvaluationItem]
    answers: dict[str, list[str]]
    metric: Metric
    secondary: list[Metric]
    classes: tuple[str, ...]
    """The closed set of answers that all items share; empty where there is none."""


def check_suites(items: Sequence[EvaluationItem], metrics: MetricTable = METRICS) -> None:
    """Refuse items of which no report can be made, before anyone answers them.

    Raises:
        ValueError: where a suite mixes metrics, its metric is not in the table, or needs choices
            that the items don't share.
    """
    for suite in _by_suite(items).values():
        _classes_of(suite, _metric_of(suite, metrics))


def answered_suites(evaluation: Evaluation, metrics: MetricTable) -> list[AnsweredSuite]:
    """Sort the answers by suite and checkpoint.

    Raises:
        ValueError: where a checkpoint lacks the answer to an item, or `check_suites` refuses.
    """
    answers = {(p.checkpoint, p.suite, p.id): p.hypothesis for p in evaluation.predictions}
    suites = []
    for name, items in _by_suite(evaluation.items).items():
        metric = _metric_of(items, metrics)
        classes = _classes_of(items, metric)
        secondary = [metrics.named(other) for other in metric.secondary]
        suites.append(
            AnsweredSuite(
                name=name,
                items=items,
                answers={
                    checkpoint: [_answer(answers, checkpoint, item) for item in items]
                    for checkpoint in evaluation.checkpoints
                },
                metric=metric,
                secondary=[other for other in secondary if classes or not other.needs_closed_set],
                classes=classes,
            )
        )
    return suites


def _by_suite(items: Sequence[EvaluationItem]) -> dict[str, list[EvaluationItem]]:
    """Group items by suite, in the order in which `items` first names the suites."""
    suites: dict[str, list[EvaluationItem]] = {}
    for item in items:
        suites.setdefault(item.suite, []).append(item)
    return suites


def _metric_of(items: Sequence[EvaluationItem], metrics: MetricTable) -> Metric:
    names = {item.metric for item in items}
    if len(names) > 1:
        raise ValueError(
            f"suite {items[0].suite!r} mixes the metrics {sorted(names)}: one suite has one "
            "number. Give each metric a suite of its own."
        )
    return metrics.named(items[0].metric)


def _classes_of(items: Sequence[EvaluationItem], metric: Metric) -> tuple[str, ...]:
    """Return the choices that a suite's items share; none where each has its own."""
    is_closed = metric.is_of_labels and len({item.choices for item in items}) == 1
    classes = items[0].choices if is_closed else ()
    if metric.needs_closed_set and not classes:
        raise ValueError(
            f"{metric.name} got no classes for suite {items[0].suite!r}: it is defined over a "
            "closed set that all items share. Give them the same `choices`, or another metric."
        )
    return classes


def _answer(
    answers: Mapping[tuple[str, str, str], str], checkpoint: str, item: EvaluationItem
) -> str:
    key = (checkpoint, item.suite, item.conversation.id)
    if key not in answers:
        raise ValueError(
            f"checkpoint {checkpoint!r} has no answer to item {item.conversation.id!r} of suite "
            f"{item.suite!r}: a score needs all of them. Resume the evaluation."
        )
    return answers[key]
