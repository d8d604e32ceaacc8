"""From predictions to the report: scores, intervals, paired tests, confusions, examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_contracts.records import EvaluationItem, Prediction
from tasks.evaluation.metrics.metric import Array, Metric
from tasks.evaluation.metrics.normalisation import normalise_label, strip_tags
from tasks.evaluation.metrics.table import METRICS, MetricTable
from tasks.evaluation.report import (
    OTHER,
    Comparison,
    Confusion,
    Example,
    ExampleAnswer,
    Report,
    SuiteResult,
)
from tasks.evaluation.statistics import (
    bootstrap_interval,
    chance_score,
    majority_score,
    paired_test,
)

_MAX_CONFUSION_CLASSES = 40
"""Beyond it (whole sentences of voice chat, say) a matrix is too large to read."""


@dataclass(frozen=True)
class Evaluation:
    """What was asked and what was answered: all that a report is made of.

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
class _Suite:
    """The items of one suite with every checkpoint's answers, in the order of the items."""

    name: str
    items: list[EvaluationItem]
    answers: dict[str, list[str]]
    metric: Metric
    secondary: list[Metric]
    classes: tuple[str, ...]
    """The closed set of answers that all items share; empty where there is none."""


def build_report(
    evaluation: Evaluation, seed: int, num_examples: int = 3, metrics: MetricTable = METRICS
) -> Report:
    """Score the predictions suite by suite.

    Args:
        seed: of the bootstrap, the paired tests and the draw of examples.
        num_examples: items a suite, drawn at random and not chosen by score.
        metrics: the table in which the items' metrics are looked up.

    Raises:
        ValueError: where a checkpoint lacks the answer to an item, a suite mixes metrics, its
            metric is not in the table, or needs choices that the items don't share.
    """
    results: list[SuiteResult] = []
    comparisons: list[Comparison] = []
    confusions: list[Confusion] = []
    examples: list[Example] = []
    checkpoints = evaluation.checkpoints
    for suite in _suites(evaluation, metrics):
        stats = {
            name: suite.metric.statistics(suite.items, answers)
            for name, answers in suite.answers.items()
        }
        train_answers = evaluation.train_answers.get(suite.name, ())
        majority = majority_score(suite.items, suite.metric, train_answers)
        results += [_result(suite, name, stats[name], majority, seed) for name in checkpoints]
        comparisons += [
            _comparison(suite, (before, after), (stats[before], stats[after]), seed)
            for before, after in pairwise(checkpoints)
        ]
        if 0 < len(suite.classes) <= _MAX_CONFUSION_CLASSES:
            confusions += [_confusion(suite, name) for name in checkpoints]
        drawn = np.random.default_rng(seed).permutation(len(suite.items))[:num_examples]
        examples += [_example(suite, index) for index in sorted(drawn.tolist())]
    return Report(
        title=evaluation.title,
        checkpoints=tuple(checkpoints),
        results=tuple(results),
        comparisons=tuple(comparisons),
        confusions=tuple(confusions),
        examples=tuple(examples),
        provenance=dict(evaluation.provenance),
    )


def _suites(evaluation: Evaluation, metrics: MetricTable) -> list[_Suite]:
    answers = {(p.checkpoint, p.suite, p.id): p.hypothesis for p in evaluation.predictions}
    suites = []
    for name in dict.fromkeys(item.suite for item in evaluation.items):
        items = [item for item in evaluation.items if item.suite == name]
        metric = _metric_of(items, metrics)
        classes = _classes_of(items, metric)
        secondary = [metrics.named(other) for other in metric.secondary]
        suites.append(
            _Suite(
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


def _metric_of(items: Sequence[EvaluationItem], metrics: MetricTable) -> Metric:
    names = {item.metric for item in items}
    if len(names) > 1:
        raise ValueError(
            f"suite {items[0].suite!r} mixes the metrics {sorted(names)}: one suite has one "
            "number. Give each metric a suite of its own."
        )
    return metrics.named(items[0].metric)


def _classes_of(items: Sequence[EvaluationItem], metric: Metric) -> tuple[str, ...]:
    """The choices of a suite's items where they share them."""
    # Items with choices of their own (multiple choice) have no classes in common.
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


def _result(
    suite: _Suite, checkpoint: str, stats: Array, majority: float, seed: int
) -> SuiteResult:
    interval = bootstrap_interval(stats, suite.metric.from_totals, seed)
    answers = suite.answers[checkpoint]
    return SuiteResult(
        suite=suite.name,
        checkpoint=checkpoint,
        metric=suite.metric.name,
        higher_is_better=suite.metric.higher_is_better,
        n=len(suite.items),
        value=suite.metric.aggregate(stats),
        low=interval.low,
        high=interval.high,
        chance=chance_score(suite.items, suite.metric),
        majority=majority,
        secondary={
            other.name: other.aggregate(other.statistics(suite.items, answers))
            for other in suite.secondary
        },
    )


def _comparison(
    suite: _Suite, names: tuple[str, str], stats: tuple[Array, Array], seed: int
) -> Comparison:
    test = paired_test(*stats, suite.metric.from_totals, seed)
    return Comparison(
        suite=suite.name,
        metric=suite.metric.name,
        higher_is_better=suite.metric.higher_is_better,
        before=names[0],
        after=names[1],
        difference=test.difference,
        low=test.interval.low,
        high=test.interval.high,
        p_value=test.p_value,
    )


def _confusion(suite: _Suite, checkpoint: str) -> Confusion:
    columns = {normalise_label(label): index for index, label in enumerate(suite.classes)}
    counts = np.zeros((len(suite.classes), len(suite.classes) + 1), dtype=int)
    for item, answer in zip(suite.items, suite.answers[checkpoint], strict=True):
        row = columns[normalise_label(item.conversation.answer)]
        counts[row, columns.get(normalise_label(answer), len(suite.classes))] += 1
    return Confusion(
        suite=suite.name,
        checkpoint=checkpoint,
        classes=(*suite.classes, OTHER),
        counts=tuple(tuple(row) for row in counts.tolist()),
    )


def _example(suite: _Suite, index: int) -> Example:
    item = suite.items[index]
    # A perfect answer scores what the reference scores against itself.
    best = suite.metric.score(item, item.conversation.answer)
    answers = []
    for checkpoint, texts in suite.answers.items():
        text = texts[index]
        score = suite.metric.score(item, text)
        answers.append(
            ExampleAnswer(checkpoint=checkpoint, text=text, score=score, right=score == best)
        )
    asked = [turn for turn in item.conversation.prompt if turn.role != "system"]
    return Example(
        id=item.conversation.id,
        suite=suite.name,
        metric=suite.metric.name,
        question="\n".join(f"{turn.role}: {turn.text or '(audio alone)'}" for turn in asked),
        clip_ids=item.conversation.clip_ids,
        reference=strip_tags(item.conversation.answer),
        answers=tuple(answers),
    )
